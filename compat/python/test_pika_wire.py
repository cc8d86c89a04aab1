"""The conversation frame by frame: handshake, codes, limits, pipelining, field tables.

These speak with pika's encoders over a plain socket, because the client itself is too well-behaved.
"""

import struct

import pika
import pytest
from conftest import HOST, PORT
from pika import frame, spec
from wire import Closed, Wire


@pytest.fixture
def wire():
    with Wire() as wire:
        yield wire


# ---- handshake


def test_start_offers_mechanisms_and_locale(wire):
    start = wire.start()
    assert {b"PLAIN", b"AMQPLAIN"} <= set(start.mechanisms.split())
    assert b"en_US" in start.locales.split()
    assert (start.version_major, start.version_minor) == (0, 9)


@pytest.mark.parametrize("header", [b"AMQP\x00\x00\x09\x02", b"AMQP\x05\x05\x05\x05", b"HTTP/1.1"])
def test_another_protocol_is_answered_with_ours_and_shut(wire, header):
    wire.raw(header)
    answer = b""
    while len(answer) < 8:
        got = wire.socket.recv(8 - len(answer))
        assert got, answer
        answer += got
    assert answer[:4] == b"AMQP"
    assert wire.is_shut()


def test_amqplain(wire):
    wire.start()
    pieces = []
    pika.data.encode_table(pieces, {"LOGIN": "guest", "PASSWORD": "guest"})
    response = b"".join(pieces)[4:]
    wire.send(0, spec.Connection.StartOk({}, "AMQPLAIN", response, "en_US"))
    wire.expect(spec.Connection.Tune)
    wire.tune()
    wire.expect(spec.Connection.OpenOk)


def test_tune_values(wire):
    wire.start()
    wire.login()
    tune = wire.expect(spec.Connection.Tune)
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (2_047, 131_072, 60)


def test_wrong_password_with_the_capability_is_403(wire):
    wire.start()
    wire.login(password="wrong")
    close = wire.expect(spec.Connection.Close)
    assert close.reply_code == 403
    assert close.reply_text.startswith(
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN"
    )


def test_wrong_password_without_the_capability_just_shuts(wire):
    wire.start()
    wire.login(password="wrong", capabilities={})
    assert wire.is_shut()


def test_unknown_vhost_is_530(wire):
    wire.start()
    wire.login()
    wire.expect(spec.Connection.Tune)
    wire.tune(vhost="nope")
    assert "vhost nope not found" in wire.refused(530, method=(10, 40))


@pytest.mark.parametrize("tuning", [{"frame_max": 131_073}, {"channel_max": 2_048}, {"frame_max": 100}])
def test_tuning_past_the_limits_is_refused(wire, tuning):
    wire.start()
    wire.login()
    wire.expect(spec.Connection.Tune)
    wire.tune(**tuning)
    # RabbitMQ shuts without a word as long as the connection is not open.
    wire.refused(530, method=(10, 31), or_shut=True)


def test_open_before_login_is_refused(wire):
    wire.start()
    wire.send(0, spec.Connection.Open("/"))
    wire.refused(503, or_shut=True)


def test_everything_may_come_in_one_piece(wire):
    """Clients send connection.open, channel.open and more before they read an answer."""
    wire.start()
    wire.login()
    wire.tune()
    wire.send(1, spec.Channel.Open())
    wire.send(1, spec.Confirm.Select())
    wire.send(1, spec.Queue.Declare(queue="", exclusive=True))
    for method in [
        spec.Connection.Tune,
        spec.Connection.OpenOk,
        spec.Channel.OpenOk,
        spec.Confirm.SelectOk,
        spec.Queue.DeclareOk,
    ]:
        wire.expect(method)


def test_bytes_may_come_one_by_one(wire):
    wire.open()
    queue = wire.queue()
    whole = frame.Method(1, spec.Basic.Publish(exchange="", routing_key=queue)).marshal()
    whole += frame.Header(1, 5, pika.BasicProperties(content_type="a/b")).marshal()
    whole += frame.Body(1, b"he").marshal() + frame.Body(1, b"llo").marshal()
    for byte in whole:
        wire.raw(bytes([byte]))
    wire.send(1, spec.Basic.Get(queue=queue, no_ack=True))
    wire.expect(spec.Basic.GetOk)
    assert wire.receive().body_size == 5
    assert wire.receive().fragment == b"hello"


def test_close_is_answered_and_ends(wire):
    wire.open()
    wire.send(1, spec.Channel.Close(200, "", 0, 0))
    wire.expect(spec.Channel.CloseOk)
    wire.send(0, spec.Connection.Close(200, "bye", 0, 0))
    wire.expect(spec.Connection.CloseOk)


# ---- codes of bad conversations


def test_unknown_frame_type_is_501(wire):
    wire.open()
    wire.frame(9, 1, b"")
    wire.refused(501)


def test_wrong_frame_end_is_501(wire):
    wire.open()
    wire.frame(1, 1, frame.Method(1, spec.Channel.Flow(True)).marshal()[7:-1], end=b"\x00")
    wire.refused(501)


def test_oversized_frame_is_501(wire):
    wire.open(frame_max=8_192)
    queue = wire.queue()
    wire.send(1, spec.Basic.Publish(exchange="", routing_key=queue))
    wire.header(1, 10_000)
    wire.body(1, bytes(10_000))
    wire.refused(501)


def test_body_without_a_header_is_505(wire):
    wire.open()
    wire.send(1, spec.Basic.Publish(exchange="", routing_key="k"))
    wire.body(1, b"early")
    wire.refused(505)


def test_method_in_place_of_a_header_is_505(wire):
    wire.open()
    wire.send(1, spec.Basic.Publish(exchange="", routing_key="k"))
    wire.send(1, spec.Channel.Flow(True))
    wire.refused(505)


def test_header_without_a_method_is_505(wire):
    wire.open()
    wire.header(1, 3)
    wire.refused(505)


def test_header_of_another_class_is_505(wire):
    wire.open()
    wire.send(1, spec.Basic.Publish(exchange="", routing_key="k"))
    wire.frame(2, 1, struct.pack(">HHQH", 50, 0, 0, 0))
    wire.refused(505)


@pytest.mark.differs_in_rabbitmq_3("RabbitMQ 3 goes on waiting for the rest")
def test_more_body_than_announced_is_refused(wire):
    wire.open()
    wire.send(1, spec.Basic.Publish(exchange="", routing_key="k"))
    wire.header(1, 3)
    wire.body(1, b"four")
    wire.refused(501, 505)


def test_heartbeat_on_a_channel_is_refused(wire):
    wire.open()
    wire.frame(8, 1, b"")
    wire.refused(505)


def test_unknown_method_is_refused(wire):
    wire.open()
    wire.frame(1, 1, struct.pack(">HH", 60, 999))
    # RabbitMQ gives 501 or 541 by version; what matters is that it is told and ended.
    wire.refused(501, 503, 540, 541, or_shut=True)


def test_method_with_cut_arguments_is_refused(wire):
    wire.open()
    wire.frame(1, 1, struct.pack(">HHHB", 50, 10, 0, 200) + b"short")
    wire.refused(501, 502, 541)


def test_channel_not_open_is_504(wire):
    wire.open()
    wire.send(7, spec.Queue.Declare(queue="q", exclusive=True))
    wire.refused(504)


def test_channel_opened_twice_is_504(wire):
    wire.open()
    wire.send(1, spec.Channel.Open())
    assert "second 'channel.open' seen" in wire.refused(504, method=(20, 10))


def test_one_channel_more_than_agreed_is_530(wire):
    wire.open(channels=3, channel_max=3)
    wire.send(4, spec.Channel.Open())
    wire.refused(530)


def test_connection_method_on_a_channel_is_refused(wire):
    wire.open()
    wire.send(1, spec.Connection.Open("/"))
    wire.refused(503, 504, 540)


def test_server_method_from_a_client_is_503(wire):
    wire.open()
    wire.send(1, spec.Basic.GetEmpty())
    wire.refused(503, 540)


def test_a_closed_channel_ignores_everything_until_close_ok(wire):
    wire.open(channels=2)
    queue = wire.queue(2)
    wire.send(1, spec.Queue.Declare(queue="no.such.queue", passive=True))
    wire.publish(1, "", queue, b"not taken")
    wire.send(1, spec.Queue.Declare(queue="another", passive=True))
    assert wire.expect(spec.Channel.Close).reply_code == 404
    wire.send(2, spec.Basic.Get(queue=queue))
    wire.expect(spec.Basic.GetEmpty)
    wire.send(1, spec.Channel.CloseOk())
    wire.send(1, spec.Channel.Open())
    wire.expect(spec.Channel.OpenOk)


def test_errors_name_class_and_method(wire):
    wire.open(channels=2)
    wire.send(1, spec.Queue.Declare(queue="no.such.queue", passive=True))
    close = wire.expect(spec.Channel.Close)
    assert (close.reply_code, close.class_id, close.method_id) == (404, 50, 10)
    wire.publish(2, "no.such.exchange", "k")
    close = wire.expect(spec.Channel.Close)
    assert (close.reply_code, close.class_id, close.method_id) == (404, 60, 40)


# ---- heartbeats


def test_a_silent_client_is_heard_and_then_given_up(wire):
    wire.open(heartbeat=1)
    seen = 0
    with pytest.raises(Closed):
        while True:
            seen += isinstance(wire.any_frame(), frame.Heartbeat)
    assert seen >= 1


# ---- confirms


def settled(wire, count):
    """Reads confirms until the first `count` sequence numbers are settled, once each."""
    done = set()
    while len(done) < count:
        ack = wire.expect(spec.Basic.Ack)
        low = min(set(range(1, ack.delivery_tag + 1)) - done) if ack.multiple else ack.delivery_tag
        numbers = set(range(low, ack.delivery_tag + 1)) - done
        assert numbers and max(numbers) <= count, (ack, done)
        done |= numbers
    return done


def test_confirms_of_a_pipelined_burst(wire):
    wire.open()
    queue = wire.queue(durable=True)
    wire.send(1, spec.Confirm.Select())
    wire.expect(spec.Confirm.SelectOk)
    persistent = pika.BasicProperties(delivery_mode=2)
    for number in range(2_000):
        wire.publish(1, "", queue, b"%d" % number, persistent)
    assert settled(wire, 2_000) == set(range(1, 2_001))
    wire.send(1, spec.Queue.Purge(queue=queue))
    assert wire.expect(spec.Queue.PurgeOk).message_count == 2_000


def test_return_comes_before_its_ack(wire):
    wire.open()
    wire.send(1, spec.Confirm.Select())
    wire.expect(spec.Confirm.SelectOk)
    wire.send(1, spec.Basic.Publish(exchange="amq.direct", routing_key="nobody", mandatory=True))
    wire.header(1, 1)
    wire.body(1, b"x")
    assert wire.expect(spec.Basic.Return).reply_code == 312
    assert wire.receive().body_size == 1
    assert wire.receive().fragment == b"x"
    assert wire.expect(spec.Basic.Ack).delivery_tag == 1


def test_confirm_select_twice_keeps_counting(wire):
    wire.open()
    queue = wire.queue()
    for tag in (1, 2):
        wire.send(1, spec.Confirm.Select())
        wire.expect(spec.Confirm.SelectOk)
        wire.publish(1, "", queue)
        assert wire.expect(spec.Basic.Ack).delivery_tag == tag


def test_nowait_is_not_answered(wire):
    wire.open()
    name = "nowait." + wire.queue()[-8:]
    wire.send(1, spec.Queue.Declare(queue=name, exclusive=True, nowait=True))
    wire.send(1, spec.Queue.Bind(queue=name, exchange="amq.direct", routing_key=name, nowait=True))
    wire.send(1, spec.Exchange.Declare(exchange=name, type="fanout", auto_delete=True, nowait=True))
    wire.send(1, spec.Exchange.Bind(destination=name, source="amq.direct", routing_key="a", nowait=True))
    wire.send(1, spec.Exchange.Unbind(destination=name, source="amq.direct", routing_key="a", nowait=True))
    wire.send(1, spec.Exchange.Delete(exchange=name, nowait=True))
    wire.send(1, spec.Confirm.Select(nowait=True))
    wire.send(1, spec.Basic.Consume(queue=name, consumer_tag="t", no_ack=True, nowait=True))
    wire.publish(1, "amq.direct", name, b"x")
    # The delivery is three frames and the confirm one, whichever comes first.
    got = [type(wire.receive()) for _ in range(4)]
    assert sorted(got, key=str) == sorted([frame.Method, frame.Method, frame.Header, frame.Body], key=str)
    wire.send(1, spec.Basic.Cancel(consumer_tag="t", nowait=True))
    wire.send(1, spec.Queue.Purge(queue=name, nowait=True))
    wire.send(1, spec.Queue.Delete(queue=name, nowait=True))
    wire.send(1, spec.Queue.Declare(queue=name, passive=True))
    assert wire.expect(spec.Channel.Close).reply_code == 404


def test_exchange_unbind_ok_has_the_odd_number(wire):
    wire.open()
    wire.send(1, spec.Exchange.Unbind(destination="amq.fanout", source="amq.direct", routing_key="k"))
    kind, channel, payload = wire.raw_frame()
    assert (kind, channel, payload) == (1, 1, struct.pack(">HH", 40, 51))


def test_access_request_of_old_clients(wire):
    wire.open()
    wire.frame(1, 1, struct.pack(">HH", 30, 10) + b"\x01/" + b"\x1f")
    kind, channel, payload = wire.raw_frame()
    assert (kind, channel, payload) == (1, 1, struct.pack(">HHH", 30, 11, 1))


# ---- field tables

LONG = b"long string"
FIELDS = {
    b"t": b"t\x01",
    b"b": b"b\xff",
    b"B": b"B\xff",
    b"s": b"s\xff\xfe",
    b"u": b"u\xff\xfe",
    b"I": b"I\xff\xff\xff\xfe",
    b"i": b"i\xff\xff\xff\xfe",
    b"l": b"l" + struct.pack(">q", -(2**62)),
    b"L": b"L" + struct.pack(">q", 2**62),
    b"f": b"f" + struct.pack(">f", 1.5),
    b"d": b"d" + struct.pack(">d", -2.25),
    b"D": b"D\x02" + struct.pack(">i", 314),
    b"S": b"S" + struct.pack(">I", len(LONG)) + LONG,
    b"x": b"x" + struct.pack(">I", 3) + b"\x00\xff\x80",
    b"T": b"T" + struct.pack(">Q", 1_700_000_000),
    b"V": b"V",
    b"A": b"A" + struct.pack(">I", 4) + b"t\x00VV",
    b"F": b"F" + struct.pack(">I", 4) + b"\x01kt\x01",
}


def table(fields):
    packed = b"".join(bytes([len(key)]) + key + value for key, value in fields.items())
    return struct.pack(">I", len(packed)) + packed


def roundtrip(wire, properties):
    """Publishes with these raw property bytes (flags first) and gives back what is delivered."""
    queue = wire.queue()
    wire.send(1, spec.Basic.Publish(exchange="", routing_key=queue))
    wire.frame(2, 1, struct.pack(">HHQ", 60, 0, 1) + properties)
    wire.body(1, b"x")
    wire.send(1, spec.Basic.Get(queue=queue, no_ack=True))
    kind, _, payload = wire.raw_frame()
    assert (kind, payload[:4]) == (1, struct.pack(">HH", 60, 71)), payload
    kind, _, payload = wire.raw_frame()
    assert (kind, payload[:12]) == (2, struct.pack(">HHQ", 60, 0, 1))
    assert wire.raw_frame()[2] == b"x"
    return payload[12:]


@pytest.mark.parametrize("kind", FIELDS, ids=lambda kind: kind.decode())
def test_field_type_comes_back_byte_for_byte(wire, kind):
    sent = struct.pack(">H", 1 << 13) + table({b"k": FIELDS[kind]})
    assert roundtrip(wire.open(), sent) == sent


def test_all_field_types_and_nesting_come_back(wire):
    nested = b"A" + struct.pack(">I", len(b"".join(FIELDS.values()))) + b"".join(FIELDS.values())
    for _ in range(10):
        nested = b"F" + table({b"deeper": nested})
    sent = struct.pack(">H", 1 << 13) + table({**FIELDS, b"nested": nested})
    assert roundtrip(wire.open(), sent) == sent


def test_table_longer_than_its_frame_is_refused(wire):
    wire.open()
    wire.send(1, spec.Basic.Publish(exchange="", routing_key="k"))
    bad = struct.pack(">H", 1 << 13) + struct.pack(">I", 0x7FFFFFFF) + b"\x01kt\x01"
    wire.frame(2, 1, struct.pack(">HHQ", 60, 0, 0) + bad)
    wire.refused(501, 502, 541)


def test_arguments_of_all_types_are_taken(wire):
    """A declare with every field type among unknown arguments is answered."""
    wire.open()
    arguments = table({b"x-my-" + kind: value for kind, value in FIELDS.items()})
    payload = struct.pack(">HHH", 50, 10, 0) + b"\x00" + bytes([0b00100]) + arguments
    wire.frame(1, 1, payload)
    assert wire.expect(spec.Queue.DeclareOk).queue.startswith("amq.gen-")


def test_headers_exchange_compares_integers_of_all_widths(wire):
    wire.open()
    queue = wire.queue()
    wire.send(1, spec.Queue.Bind(queue=queue, exchange="amq.headers", arguments={"n" + queue[-6:]: 5}))
    wire.expect(spec.Queue.BindOk)
    key = b"n" + queue[-6:].encode()
    for value in [b"b\x05", b"s\x00\x05", b"I" + struct.pack(">i", 5), b"l" + struct.pack(">q", 5)]:
        wire.send(1, spec.Basic.Publish(exchange="amq.headers", routing_key=""))
        wire.frame(2, 1, struct.pack(">HHQH", 60, 0, 0, 1 << 13) + table({key: value}))
    wire.send(1, spec.Queue.Purge(queue=queue))
    assert wire.expect(spec.Queue.PurgeOk).message_count == 4


def test_an_unfinished_handshake_disturbs_nobody(wire):
    wire.raw(b"AMQP\x00")
    connection = pika.BlockingConnection(pika.ConnectionParameters(HOST, PORT))
    connection.channel().queue_declare("", exclusive=True)
    connection.close()
    wire.raw(b"\x00\x09\x01")
    wire.expect(spec.Connection.Start)

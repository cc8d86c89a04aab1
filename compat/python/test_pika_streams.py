"""Stream queues: read from anywhere, by everybody, and never taken from."""

import datetime
import time

import pika
import pytest
from conftest import (
    PATIENCE_S,
    RABBITMQ_3,
    Inbox,
    await_ready,
    broker,
    channel_refuses,
    connection_dies,
    fill,
    get,
    ready,
)

STREAM = {"x-queue-type": "stream"}


@pytest.fixture
def stream(ch, name):
    return declare(ch, name)


def declare(channel, name, **arguments):
    arguments = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    return channel.queue_declare(name, durable=True, arguments=STREAM | arguments).method.queue


@pytest.fixture
def read(connection):
    """A consumer on a channel of its own, from that offset on."""

    def read(stream, offset=None, prefetch=100):
        channel = connection.channel()
        channel.basic_qos(prefetch_count=prefetch)
        arguments = {} if offset is None else {"x-stream-offset": offset}
        return Inbox(channel, stream, arguments=arguments)

    return read


def again(connection, name, **arguments):
    """A channel on which the stream has been declared, once it is there: RabbitMQ starts streams after it listens."""
    end = time.monotonic() + PATIENCE_S
    while True:
        channel = connection.channel()
        try:
            declare(channel, name, **arguments)
            return channel
        except pika.exceptions.ChannelClosedByBroker as closed:
            assert closed.reply_code == 404 and time.monotonic() < end, closed
            connection.process_data_events(time_limit=0.1)


def offsets(messages):
    return [properties.headers["x-stream-offset"] for _, properties, _ in messages]


# ---- declaring


@pytest.mark.parametrize("flags", [{}, {"durable": True, "exclusive": True}, {"durable": True, "auto_delete": True}])
def test_a_stream_is_durable_and_everybodys(ch, name, flags):
    text = channel_refuses(406, ch.queue_declare, name, arguments=STREAM, **flags)
    assert "invalid property" in text


def test_a_stream_has_a_name(ch):
    channel_refuses(406, ch.queue_declare, "", durable=True, arguments=STREAM)


@pytest.mark.parametrize(
    "argument, value",
    [
        ("x-max-length", 5),
        ("x-message-ttl", 1000),
        ("x-expires", 1000),
        ("x-dead-letter-exchange", ""),
        ("x-max-priority", 5),
        ("x-overflow", "reject-publish"),
        ("x-single-active-consumer", True),
        ("x-max-age", "5x"),
        ("x-max-age", "0s"),
        ("x-max-age", 5),
        ("x-max-length-bytes", -1),
        ("x-stream-max-segment-size-bytes", 2**40),
        ("x-initial-cluster-size", 0),
        ("x-queue-leader-locator", "here"),
    ],
)
def test_an_argument_that_a_stream_cannot_have(ch, name, argument, value):
    text = channel_refuses(406, ch.queue_declare, name, durable=True, arguments={**STREAM, argument: value})
    assert argument in text


def test_declared_again_it_must_be_the_same(connection, name):
    arguments = {"max_age": "1h", "max_length_bytes": 1_000_000, "stream_max_segment_size_bytes": 500_000}
    for _ in range(2):
        declare(connection.channel(), name, **arguments)
    for other in [{"max_age": "2h"}, {"max_length_bytes": 2_000_000}]:
        text = channel_refuses(406, declare, connection.channel(), name, **(arguments | other))
        assert "inequivalent arg" in text
    text = channel_refuses(406, declare, connection.channel(), name)
    assert "inequivalent arg" in text
    channel_refuses(406, connection.channel().queue_declare, name, durable=True)
    channel_refuses(405, connection.channel().queue_declare, name, durable=True, exclusive=True, arguments=STREAM)
    assert connection.channel().queue_declare(name, passive=True).method.queue == name
    plain = declare(connection.channel(), name + ".plain")
    text = channel_refuses(406, connection.channel().queue_declare, plain, durable=True)
    assert "inequivalent arg 'x-queue-type'" in text
    assert "received none but current is the value 'stream'" in text


# ---- reading


def test_messages_come_with_their_offsets_as_they_were_published(stream, publish, read):
    # RabbitMQ 3 keeps no lists and tables in streams.
    headers = {"n": 1, "b": True} | ({} if RABBITMQ_3 else {"list": ["a", 2], "table": {"x": "y"}})
    properties = {"headers": headers | {"x-stream-offset": 77}, "content_type": "text/plain", "delivery_mode": 1, "correlation_id": "c", "priority": 3}
    publish("", stream, b"first", **properties)
    publish("", stream, b"second")
    for _ in range(2):
        inbox = read(stream, "first")
        (method, first, _), (_, second, _) = inbox.wait(2)
        assert inbox.bodies(2) == [b"first", b"second"]
        assert (method.exchange, method.routing_key, method.redelivered, method.delivery_tag) == ("", stream, False, 1)
        assert first.headers == headers | {"x-stream-offset": 0}
        assert (first.content_type, first.delivery_mode, first.correlation_id, first.priority) == ("text/plain", 1, "c", 3)
        assert second.headers == {"x-stream-offset": 1}


def test_where_a_consumer_begins(stream, publish, read):
    fill(publish, stream, 5)
    past, future = datetime.datetime(2020, 1, 1), datetime.datetime(2040, 1, 1)
    inboxes = {}
    for offset in [None, "first", "last", "next", 0, 3, 6, -1, "1h", past, future]:
        inboxes[offset] = read(stream, offset)
    publish("", stream, b"5")
    publish("", stream, b"6")
    publish("", stream, b"7")
    firsts = {None: 5, "first": 0, "last": 4, "next": 5, 0: 0, 3: 3, 6: 6, -1: 0, "1h": 0, past: 0, future: 5}
    for offset, first in firsts.items():
        inbox, count = inboxes[offset], 8 - first
        assert inbox.bodies(count) == [b"%d" % number for number in range(first, 8)], offset
        assert offsets(inbox.messages) == list(range(first, 8)), offset


@pytest.mark.parametrize("offset", ["5x", pytest.param("soon", marks=pytest.mark.differs_in_rabbitmq_3("crashes with 541"))])
def test_an_offset_that_is_none(stream, read, offset):
    assert "x-stream-offset" in channel_refuses(406, read, stream, offset)


def test_nothing_is_taken_by_acknowledging(connection, stream, publish, read):
    fill(publish, stream, 10)
    inbox = read(stream, "first", prefetch=2)
    inbox.wait(2)
    for number in range(10):
        assert inbox.bodies(number + 1)[-1] == b"%d" % number
        # Never more than it asked for.
        assert len(inbox.messages) <= number + 2
        inbox.channel.basic_ack(number + 1)
    assert read(stream, "first").bodies(10) == inbox.bodies(10)


def test_an_ack_may_speak_for_several(stream, publish, read):
    fill(publish, stream, 6)
    inbox = read(stream, "first", prefetch=3)
    inbox.wait(3)
    inbox.channel.basic_ack(3, multiple=True)
    assert inbox.bodies(6) == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_a_consumer_must_say_how_much_it_takes(connection, stream):
    ch = connection.channel()
    text = channel_refuses(406, ch.basic_consume, stream, lambda *_: None)
    assert "consumer prefetch count is not set" in text


def test_a_consumer_has_no_priority(connection, stream):
    ch = connection.channel()
    ch.basic_qos(prefetch_count=1)
    channel_refuses(406, ch.basic_consume, stream, lambda *_: None, arguments={"x-priority": 1})


def test_a_consumer_must_acknowledge(connect, name):
    connection = connect()
    ch = connection.channel()
    declare(ch, name)
    ch.basic_qos(prefetch_count=1)
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        ch.basic_consume(name, lambda *_: None, auto_ack=True)
    assert closed.value.reply_code == 540


@pytest.mark.parametrize("action", ["basic_get", "queue_purge"])
def test_what_a_stream_cannot_do(connect, name, action):
    ch = connect().channel()
    declare(ch, name)
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        getattr(ch, action)(name)
    assert closed.value.reply_code == 540
    assert "not supported by stream queues" in closed.value.reply_text


@pytest.mark.parametrize("action", ["basic_nack", "basic_reject"])
def test_what_was_read_cannot_be_given_back(connect, publish, name, action):
    connection = connect()
    ch = connection.channel()
    declare(ch, name)
    publish("", name, b"")
    ch.basic_qos(prefetch_count=1)
    Inbox(ch, name, arguments={"x-stream-offset": "first"}).wait(1)
    getattr(ch, action)(1)
    assert "not supported by stream queues" in connection_dies(540, connection)


# ---- publishing


def test_exchanges_lead_to_streams(ch, name, stream, publish, read):
    ch.exchange_declare(name, "topic", durable=True)
    queue = ch.queue_declare(name + ".q", exclusive=True).method.queue
    for bound in [stream, queue]:
        ch.queue_bind(bound, name, "a.*")
    publish(name, "a.b", b"both", mandatory=True)
    with pytest.raises(pika.exceptions.UnroutableError):
        publish(name, "b.a", b"", mandatory=True)
    method, properties, body = get(ch, queue)
    assert (body, properties.headers) == (b"both", None)
    method, _, body = read(stream, "first").wait(1)[0]
    assert (method.exchange, method.routing_key, body) == (name, "a.b", b"both")
    ch.queue_unbind(stream, name, "a.*")
    publish(name, "a.b", b"only the queue")
    publish("", stream, b"only the stream")
    assert get(ch, queue)[2] == b"only the queue"
    assert read(stream, "first").bodies(2) == [b"both", b"only the stream"]


def test_a_transaction_reaches_a_stream_as_a_whole(connection, stream, read):
    ch = connection.channel()
    ch.tx_select()
    inbox = read(stream, "first")
    ch.basic_publish("", stream, b"rolled back")
    ch.tx_rollback()
    for body in [b"1", b"2", b"3"]:
        ch.basic_publish("", stream, body)
    ch.tx_commit()
    assert inbox.bodies(3) == [b"1", b"2", b"3"]


def test_large_and_empty_bodies(stream, publish, read):
    bodies = [b"", b"x", bytes(range(256)) * 4_000]
    for body in bodies:
        publish("", stream, body)
    assert read(stream, "first").bodies(3) == bodies


@pytest.mark.differs_in_rabbitmq_3("counts only now and then")
def test_how_many_messages_there_are(ch, stream, publish, read):
    fill(publish, stream, 7)
    assert ready(ch, stream) == 7
    read(stream, "first")
    assert ch.queue_declare(stream, passive=True).method.consumer_count == 1


# ---- ends and restarts


def test_deleting_a_stream_tells_its_consumers(connect, connection, stream):
    reader = connect()
    ch, ended = reader.channel(), []
    ch.basic_qos(prefetch_count=1)
    ch.add_on_cancel_callback(lambda frame: ended.append(frame.method.consumer_tag))
    inbox = Inbox(ch, stream)
    connection.channel().queue_delete(stream)
    inbox.messages = ended
    assert inbox.wait(1) == [inbox.tag]
    channel_refuses(404, connection.channel().queue_declare, stream, passive=True)


@pytest.mark.parametrize("verb", ["restart", "crash"])
def test_a_stream_outlives_the_broker(connect, name, verb):
    ch = connect().channel()
    declare(ch, name, max_age="1D")
    ch.exchange_declare(name, "direct", durable=True)
    ch.queue_bind(name, name, "k")
    ch.confirm_delivery()
    for number in range(100):
        # Not persistent: a stream does not care.
        ch.basic_publish(name, "k", b"%d" % number, pika.BasicProperties(delivery_mode=1))
    broker(verb)
    ch = again(connect(), name, max_age="1D")
    ch.confirm_delivery()
    ch.basic_publish(name, "k", b"100")
    ch.basic_qos(prefetch_count=200)
    inbox = Inbox(ch, name, arguments={"x-stream-offset": 40})
    assert inbox.bodies(61) == [b"%d" % number for number in range(40, 101)]
    assert offsets(inbox.messages) == list(range(40, 101))
    if not RABBITMQ_3:
        await_ready(ch, name, 101)

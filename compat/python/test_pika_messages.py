"""Messages: publishing, confirms and returns, deliveries, acknowledgements, prefetch, transactions."""

import contextlib
import datetime
import decimal

import pika
import pytest
from conftest import (
    Inbox,
    await_ready,
    channel_dies,
    channel_refuses,
    connection_dies,
    drain,
    fill,
    get,
    ready,
    until,
)

MEBIBYTE = 1024 * 1024

# ---- bodies and properties

SIZES = [0, 1, 131_072 - 8, 131_072 - 7, 131_072, 262_144, 4 * MEBIBYTE, 16 * MEBIBYTE]


@pytest.mark.parametrize("size", SIZES)
def test_bodies_of_every_size(ch, publish, queue, size):
    pattern = bytes(range(256)) * (size // 256 + 1)
    sent = pattern[:size]
    publish("", queue, sent)
    assert get(ch, queue)[2] == sent
    inbox = Inbox(ch, queue)
    publish("", queue, sent)
    assert inbox.bodies(1) == [sent]


def test_a_body_over_the_limit_is_406(connection, queue):
    ch = connection.channel()
    # The header is enough to refuse it, so this may come while the body is still being sent.
    with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
        ch.basic_publish("", queue, bytes(16 * MEBIBYTE + 1))
    text = channel_dies(406, ch)
    assert "message size 16777217" in text and "16777216" in text
    assert connection.channel().queue_declare(queue, passive=True).method.message_count == 0


@pytest.mark.parametrize("frame_max", [8_192, 16_384, 131_072])
def test_bodies_split_at_the_negotiated_frame_size(connect, name, frame_max):
    ch = connect(frame_max=frame_max).channel()
    ch.queue_declare(name, exclusive=True)
    ch.confirm_delivery()
    for size in [frame_max - 9, frame_max - 8, frame_max - 7, 3 * frame_max, 300_001]:
        ch.basic_publish("", name, b"z" * size)
        assert get(ch, name)[2] == b"z" * size


def test_all_properties_come_back(ch, publish, queue):
    sent = {
        "content_type": "application/json",
        "content_encoding": "utf-8",
        "headers": {"k": "v"},
        "delivery_mode": 2,
        "priority": 7,
        "correlation_id": "c-1",
        "reply_to": "somewhere",
        "expiration": "3600000",
        "message_id": "m-1",
        "timestamp": 1_700_000_000,
        "type": "t",
        "user_id": "guest",
        "app_id": "compat",
        "cluster_id": "old",
    }
    publish("", queue, b"", **sent)
    got = get(ch, queue)[1]
    assert {key: getattr(got, key) for key in sent} == sent
    publish("", queue, b"")
    got = get(ch, queue)[1]
    assert all(getattr(got, key) is None for key in sent)


def test_header_values_of_all_kinds_come_back(ch, publish, queue):
    headers = {
        "text": "žluťoučký 站",
        "bytes": b"\x00\xff\xfe",
        "yes": True,
        "no": False,
        "int": -42,
        "long": 2**40,
        "decimal": decimal.Decimal("3.14"),
        "time": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
        "nothing": None,
        "empty": {},
        "table": {"a": {"b": {"c": [1, "two", None, {"d": [True]}]}}},
        "list": [[1, [2, [3]]], {"x": "y"}, []],
        "": "a name may be empty",
        "n" * 128: "or long",
    }
    publish("", queue, b"", headers=headers)
    assert get(ch, queue)[1].headers == headers


def test_delivery_carries_exchange_key_and_tag(ch, publish, queue, name):
    ch.queue_bind(queue, "amq.direct", name)
    inbox = Inbox(ch, queue)
    publish("amq.direct", name, b"")
    publish("", queue, b"")
    (first, _, _), (second, _, _) = inbox.wait(2)
    assert (first.exchange, first.routing_key) == ("amq.direct", name)
    assert (second.exchange, second.routing_key) == ("", queue)
    assert first.consumer_tag == inbox.tag
    assert (first.delivery_tag, second.delivery_tag) == (1, 2)


# ---- publishing


def test_mandatory_message_without_a_queue_is_returned_whole(ch, publish, name):
    with pytest.raises(pika.exceptions.UnroutableError) as refused:
        publish("amq.direct", name, b"x" * 200_000, mandatory=True, message_id="m", headers={"a": [1]})
    (returned,) = refused.value.messages
    assert (returned.method.reply_code, returned.method.reply_text) == (312, "NO_ROUTE")
    assert (returned.method.exchange, returned.method.routing_key) == ("amq.direct", name)
    assert returned.body == b"x" * 200_000
    assert (returned.properties.message_id, returned.properties.headers) == ("m", {"a": [1]})
    # The channel goes on, and without `mandatory` it is confirmed and dropped.
    publish("amq.direct", name, b"")


def test_mandatory_return_without_confirms(connection, ch, name):
    returned = []
    ch.add_on_return_callback(lambda channel, method, properties, body: returned.append((method.reply_code, body)))
    ch.basic_publish("", name, b"back", mandatory=True)
    ch.basic_publish("", name, b"dropped")
    until(connection, lambda: returned, "the message is returned")
    ch.queue_declare("", exclusive=True)
    assert returned == [(312, b"back")]


def test_immediate_is_refused(connection, queue):
    ch = connection.channel()
    ch._impl._send_method(
        pika.spec.Basic.Publish(exchange="", routing_key=queue, immediate=True),
        (pika.BasicProperties(), b""),
    )
    assert "immediate=true" in connection_dies(540, connection)


def test_bad_expiration_is_406(connection, queue):
    for expiration in ["abc", "-1", "1.5", ""]:
        ch = connection.channel()
        ch.basic_publish("", queue, b"", pika.BasicProperties(expiration=expiration))
        assert "invalid expiration" in channel_dies(406, ch)


def test_user_id_must_be_the_users_own(connection, queue):
    ch = connection.channel()
    ch.basic_publish("", queue, b"", pika.BasicProperties(user_id="bob"))
    text = channel_dies(406, ch)
    assert text == "PRECONDITION_FAILED - user_id property set to 'bob' but authenticated user was 'guest'"


def test_many_messages_keep_their_order(connection, ch, queue):
    inbox = Inbox(ch, queue, auto_ack=True)
    sender = connection.channel()
    for number in range(5_000):
        sender.basic_publish("", queue, b"%d" % number)
    assert inbox.bodies(5_000) == [b"%d" % number for number in range(5_000)]


# ---- taking and settling


def test_get_from_empty_and_full(ch, publish, queue):
    assert ch.basic_get(queue) == (None, None, None)
    fill(publish, queue, 3)
    method, _, body = get(ch, queue, auto_ack=False)
    assert (body, method.message_count, method.redelivered) == (b"0", 2, False)
    assert (method.exchange, method.routing_key) == ("", queue)
    ch.basic_ack(method.delivery_tag)
    assert drain(ch, queue) == [b"1", b"2"]


def test_missing_queue_is_404(connection, name):
    for action in [
        lambda channel: channel.basic_get(name),
        lambda channel: channel.basic_consume(name, print),
        lambda channel: channel.queue_purge(name),
    ]:
        assert channel_refuses(404, action, connection.channel()) == f"NOT_FOUND - no queue '{name}' in vhost '/'"


def test_ack_one_and_many(connection, ch, publish, queue):
    fill(publish, queue, 6)
    inbox = Inbox(ch, queue)
    tags = [method.delivery_tag for method, _, _ in inbox.wait(6)]
    ch.basic_ack(tags[1])
    ch.basic_ack(tags[3], multiple=True)
    ch.close()
    again = connection.channel()
    await_ready(again, queue, 2)
    assert drain(again, queue) == [b"4", b"5"]


def test_tag_zero_means_all(connection, ch, publish, queue):
    fill(publish, queue, 3)
    inbox = Inbox(ch, queue)
    inbox.wait(3)
    ch.basic_ack(0, multiple=True)
    ch.close()
    assert ready(connection.channel(), queue) == 0


def test_unknown_tag_is_406(connection, publish, queue):
    fill(publish, queue, 2)
    ch = connection.channel()
    ch.basic_ack(99)
    assert channel_dies(406, ch) == "PRECONDITION_FAILED - unknown delivery tag 99"
    for settle in ["basic_ack", "basic_nack", "basic_reject"]:
        ch = connection.channel()
        tag = get(ch, queue, auto_ack=False)[0].delivery_tag
        getattr(ch, settle)(tag)
        getattr(ch, settle)(tag)
        assert channel_dies(406, ch) == f"PRECONDITION_FAILED - unknown delivery tag {tag}"
        publish("", queue, b"")


def test_ack_of_an_automatically_acknowledged_message_is_406(connection, publish, queue):
    publish("", queue, b"")
    ch = connection.channel()
    tag = get(ch, queue, auto_ack=True)[0].delivery_tag
    ch.basic_ack(tag)
    assert "unknown delivery tag" in channel_dies(406, ch)


def test_a_tag_belongs_to_its_channel(connection, ch, publish, queue):
    publish("", queue, b"")
    tag = get(ch, queue, auto_ack=False)[0].delivery_tag
    other = connection.channel()
    other.basic_ack(tag)
    channel_dies(406, other)
    ch.basic_ack(tag)
    assert ready(ch, queue) == 0


def test_requeued_messages_return_to_their_places(ch, publish, queue):
    fill(publish, queue, 6)
    tags = [get(ch, queue, auto_ack=False)[0].delivery_tag for _ in range(5)]
    ch.basic_nack(tags[3], requeue=True)
    ch.basic_reject(tags[1], requeue=True)
    await_ready(ch, queue, 3)
    seen = []
    for _ in range(3):
        method, _, body = get(ch, queue)
        seen.append((body, method.redelivered))
    assert seen == [(b"1", True), (b"3", True), (b"5", False)]
    ch.basic_nack(0, multiple=True, requeue=True)
    await_ready(ch, queue, 3)
    assert drain(ch, queue) == [b"0", b"2", b"4"]


def test_rejected_without_requeue_is_gone(ch, publish, queue):
    fill(publish, queue, 4)
    tags = [get(ch, queue, auto_ack=False)[0].delivery_tag for _ in range(4)]
    ch.basic_reject(tags[0], requeue=False)
    ch.basic_nack(tags[2], multiple=True, requeue=False)
    ch.basic_nack(tags[3], requeue=True)
    await_ready(ch, queue, 1)
    assert drain(ch, queue) == [b"3"]


@pytest.mark.parametrize("what", ["channel", "connection"])
def test_closing_requeues_what_is_unacked_in_order(connect, ch, publish, name, what):
    ch.queue_declare(name, durable=True)
    fill(publish, name, 5)
    other = connect()
    consumer = other.channel()
    Inbox(consumer, name).wait(5)
    (consumer if what == "channel" else other).close()
    await_ready(ch, name, 5)
    seen = [get(ch, name) for _ in range(5)]
    assert [(body, method.redelivered) for method, _, body in seen] == [(b"%d" % n, True) for n in range(5)]
    ch.queue_delete(name)


def test_recover_redelivers(ch, publish, queue):
    fill(publish, queue, 3)
    inbox = Inbox(ch, queue)
    tags = [method.delivery_tag for method, _, _ in inbox.wait(3)]
    ch.basic_ack(tags[0])
    inbox.clear()
    ch.basic_recover(requeue=True)
    again = inbox.wait(2)
    assert [(body, method.redelivered) for method, _, body in again] == [(b"1", True), (b"2", True)]
    assert [method.delivery_tag for method, _, _ in again] == [4, 5]


def test_recover_without_requeue_is_refused(connection):
    ch = connection.channel()
    ch._impl._send_method(pika.spec.Basic.Recover(requeue=False))
    connection_dies(540, connection)


# ---- consumers


def test_consumers_take_turns(ch, publish, queue):
    inboxes = [Inbox(ch, queue, auto_ack=True) for _ in range(3)]
    fill(publish, queue, 9)
    until(ch.connection, lambda: sum(len(inbox.messages) for inbox in inboxes) == 9, "all nine came")
    assert [len(inbox.messages) for inbox in inboxes] == [3, 3, 3]


def test_prefetch_per_consumer(ch, publish, queue):
    fill(publish, queue, 20)
    ch.basic_qos(prefetch_count=3)
    first = Inbox(ch, queue)
    ch.basic_qos(prefetch_count=5)
    second = Inbox(ch, queue)
    assert first.bodies(3) == [b"0", b"1", b"2"]
    assert second.bodies(5) == [b"3", b"4", b"5", b"6", b"7"]
    await_ready(ch, queue, 12)
    ch.basic_ack(first.messages[1][0].delivery_tag)
    assert first.bodies(4)[3] == b"8"
    await_ready(ch, queue, 11)
    assert (len(first.messages), len(second.messages)) == (4, 5)


def test_prefetch_counts_neither_gets_nor_automatic_acks(ch, publish, queue):
    fill(publish, queue, 6)
    ch.basic_qos(prefetch_count=1)
    for _ in range(2):
        get(ch, queue, auto_ack=False)
    inbox = Inbox(ch, queue, auto_ack=True)
    assert inbox.bodies(4) == [b"2", b"3", b"4", b"5"]


def test_prefetch_of_a_whole_channel(ch, publish, queue, name):
    ch.queue_declare(name + ".2", exclusive=True)
    ch.basic_qos(prefetch_count=4, global_qos=True)
    inboxes = [Inbox(ch, queue), Inbox(ch, name + ".2")]
    fill(publish, queue, 4)
    fill(publish, name + ".2", 4)

    def count():
        return sum(len(inbox.messages) for inbox in inboxes)

    until(ch.connection, lambda: count() == 4, "four messages for both consumers together")
    left = ready(ch, queue) + ready(ch, name + ".2")
    assert (left, count()) == (4, 4)
    ch.basic_ack(0, multiple=True)
    until(ch.connection, lambda: count() == 8, "the other four")


def test_prefetch_in_bytes_is_refused(connection):
    ch = connection.channel()
    ch._impl._send_method(pika.spec.Basic.Qos(prefetch_size=10))
    assert "prefetch_size!=0 (10)" in connection_dies(540, connection)


def test_higher_priority_consumer_is_served_while_it_has_room(ch, publish, queue):
    ch.basic_qos(prefetch_count=2)
    low = Inbox(ch, queue, arguments={"x-priority": -1})
    high = Inbox(ch, queue, arguments={"x-priority": 10})
    fill(publish, queue, 2)
    assert high.bodies(2) == [b"0", b"1"]
    fill(publish, queue, 2)
    assert low.bodies(2) == [b"0", b"1"]
    assert len(high.messages) == 2


def test_exclusive_consumer(connection, publish, queue):
    ch = connection.channel()
    inbox = Inbox(ch, queue, exclusive=True)
    text = channel_refuses(403, Inbox, connection.channel(), queue)
    assert text.startswith(f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use")
    ch.basic_cancel(inbox.tag)
    Inbox(ch, queue)
    channel_refuses(403, lambda: Inbox(connection.channel(), queue, exclusive=True))


def test_cancel_leaves_unacked_messages_with_the_channel(ch, publish, queue):
    fill(publish, queue, 2)
    ch.basic_qos(prefetch_count=1)
    inbox = Inbox(ch, queue)
    inbox.wait(1)
    ch.basic_cancel(inbox.tag)
    assert ready(ch, queue) == 1
    ch.basic_ack(inbox.messages[0][0].delivery_tag)
    assert drain(ch, queue) == [b"1"]


def test_consumer_hears_when_its_queue_is_deleted(connection, name):
    ch = connection.channel()
    ch.queue_declare(name, durable=True)
    cancelled = []
    ch.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
    inbox = Inbox(ch, name)
    connection.channel().queue_delete(name)
    until(connection, lambda: cancelled, "basic.cancel")
    assert cancelled == [inbox.tag]


def test_consumer_tags_of_the_server(ch, queue):
    ch._impl._send_method(pika.spec.Basic.Consume(queue=queue, no_ack=True))
    tags = []
    ch._impl.add_callback(lambda frame: tags.append(frame.method.consumer_tag), [pika.spec.Basic.ConsumeOk])
    until(ch.connection, lambda: tags, "consume-ok")
    assert tags[0].startswith("amq.ctag-") and len(tags[0]) == len("amq.ctag-") + 22


# ---- request and reply without a queue


def test_direct_reply_to(connect, ch, queue):
    caller = connect().channel()
    replies = Inbox(caller, "amq.rabbitmq.reply-to", auto_ack=True)
    asked = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id="1")
    # The queue is exclusive to the server's connection, but anybody may publish to it.
    caller.basic_publish("", queue, b"ask", asked)
    _, properties, body = get(ch, queue)
    assert body == b"ask"
    assert properties.reply_to.startswith("amq.rabbitmq.reply-to.")
    ch.basic_publish("", properties.reply_to, b"answer", pika.BasicProperties(correlation_id="1"), mandatory=True)
    method, properties, body = replies.wait(1)[0]
    assert (body, properties.correlation_id, method.exchange) == (b"answer", "1", "")
    # The server can see whether the caller is still there.
    caller.queue_declare("amq.rabbitmq.reply-to", passive=True)


def test_direct_reply_to_is_refused_when_used_wrongly(connection, queue):
    ch = connection.channel()
    ch.basic_publish("", queue, b"", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to"))
    assert "fast reply consumer does not exist" in channel_dies(406, ch)
    text = channel_refuses(406, Inbox, connection.channel(), "amq.rabbitmq.reply-to", auto_ack=False)
    assert "reply consumer cannot acknowledge" in text
    ch = connection.channel()
    Inbox(ch, "amq.rabbitmq.reply-to", auto_ack=True)
    text = channel_refuses(406, Inbox, ch, "amq.rabbitmq.reply-to", auto_ack=True)
    assert "reply consumer already set" in text


def test_reply_to_a_caller_that_has_gone_is_returned(connect, ch, publish, queue):
    caller = connect().channel()
    Inbox(caller, "amq.rabbitmq.reply-to", auto_ack=True)
    caller.basic_publish("", queue, b"", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to"))
    reply_to = get(ch, queue)[1].reply_to
    caller.connection.close()
    with pytest.raises(pika.exceptions.UnroutableError):
        publish("", reply_to, b"too late", mandatory=True)


# ---- transactions


def test_tx_commit_and_rollback_of_publishes(connection, ch, queue):
    tx = connection.channel()
    tx.tx_select()
    tx.basic_publish("", queue, b"1")
    tx.basic_publish("", queue, b"2")
    tx.queue_declare(queue, passive=True)
    assert ready(ch, queue) == 0
    tx.tx_commit()
    await_ready(ch, queue, 2)
    tx.basic_publish("", queue, b"never")
    tx.tx_rollback()
    tx.basic_publish("", queue, b"3")
    tx.tx_commit()
    await_ready(ch, queue, 3)
    assert drain(ch, queue) == [b"1", b"2", b"3"]


def test_tx_commit_and_rollback_of_acks(connection, publish, queue):
    fill(publish, queue, 3)
    tx = connection.channel()
    tx.tx_select()
    tags = [get(tx, queue, auto_ack=False)[0].delivery_tag for _ in range(3)]
    tx.basic_ack(tags[0])
    tx.tx_commit()
    tx.basic_ack(tags[1])
    tx.tx_rollback()
    # Rolled back, so it can be acknowledged once more; the last one only when committed.
    tx.basic_ack(tags[1])
    tx.tx_commit()
    tx.basic_ack(tags[2])
    tx.close()
    ch = connection.channel()
    await_ready(ch, queue, 1)
    assert drain(ch, queue) == [b"2"]


def test_tx_requeues_at_commit(connection, ch, publish, queue):
    publish("", queue, b"1")
    tx = connection.channel()
    tx.tx_select()
    tx.basic_nack(get(tx, queue, auto_ack=False)[0].delivery_tag, requeue=True)
    tx.queue_declare(queue, passive=True)
    assert ready(ch, queue) == 0
    tx.tx_commit()
    await_ready(ch, queue, 1)


def test_closing_a_tx_channel_rolls_back(connection, ch, queue):
    tx = connection.channel()
    tx.tx_select()
    tx.basic_publish("", queue, b"never")
    tx.close()
    assert ready(ch, queue) == 0


def test_confirm_and_tx_do_not_mix(connection):
    ch = connection.channel()
    ch.confirm_delivery()
    text = channel_refuses(406, ch.tx_select)
    assert "cannot switch from confirm to tx mode" in text
    ch = connection.channel()
    ch.tx_select()
    text = channel_refuses(406, ch.confirm_delivery)
    assert "cannot switch from tx to confirm mode" in text
    for action in ["tx_commit", "tx_rollback"]:
        assert "channel is not transactional" in channel_refuses(406, getattr(connection.channel(), action))


# ---- flow


def test_channel_flow(connection):
    ch = connection.channel()
    assert ch.flow(True) is True
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        ch.flow(False)
    assert closed.value.reply_code == 540

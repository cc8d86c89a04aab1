"""Queues with rules: time to live, dead letters, length limits, priorities, single active consumer."""

import pika
import pytest
from conftest import (
    RABBITMQ_3,
    Inbox,
    await_ready,
    channel_refuses,
    drain,
    fill,
    get,
    ready,
    until,
)


@pytest.fixture
def dead(ch, name):
    """A queue for dead letters, and the arguments that send them there."""
    letters = ch.queue_declare(name + ".dead", exclusive=True).method.queue
    return letters, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": letters}


# ---- time to live


def test_messages_expire_in_order(ch, publish, name, dead):
    letters, arguments = dead
    ch.queue_declare(name, exclusive=True, arguments={"x-message-ttl": 100, **arguments})
    fill(publish, name, 5)
    assert Inbox(ch, letters, auto_ack=True).bodies(5) == [b"0", b"1", b"2", b"3", b"4"]
    assert ready(ch, name) == 0


def test_expiration_of_a_single_message(ch, publish, name, dead):
    letters, arguments = dead
    ch.queue_declare(name, exclusive=True, arguments=arguments)
    publish("", name, b"short", expiration="50")
    publish("", name, b"long", expiration="3600000")
    publish("", name, b"never")
    _, properties, body = Inbox(ch, letters, auto_ack=True).wait(1)[0]
    assert body == b"short"
    # Otherwise it would expire once more among the dead letters.
    assert properties.expiration is None
    assert properties.headers["x-death"][0]["original-expiration"] == "50"
    assert drain(ch, name) == [b"long", b"never"]


def test_the_shorter_of_both_times_counts(ch, publish, name, dead):
    letters, arguments = dead
    ch.queue_declare(name, exclusive=True, arguments={"x-message-ttl": 50, **arguments})
    publish("", name, b"", expiration="3600000")
    Inbox(ch, letters).wait(1)


def test_zero_time_reaches_waiting_consumers_only(ch, publish, name):
    ch.queue_declare(name, exclusive=True, arguments={"x-message-ttl": 0})
    publish("", name, b"nobody waits")
    assert ch.basic_get(name)[0] is None
    inbox = Inbox(ch, name, auto_ack=True)
    publish("", name, b"somebody waits")
    assert inbox.bodies(1) == [b"somebody waits"]


def test_unacked_messages_do_not_expire_until_requeued(ch, publish, name, dead):
    letters, arguments = dead
    ch.queue_declare(name, exclusive=True, arguments={"x-message-ttl": 100, **arguments})
    publish("", name, b"held")
    tag = get(ch, name, auto_ack=False)[0].delivery_tag
    publish("", name, b"ready")
    inbox = Inbox(ch, letters, auto_ack=True)
    assert inbox.bodies(1) == [b"ready"]
    ch.basic_nack(tag, requeue=True)
    assert inbox.bodies(2) == [b"ready", b"held"]


def test_unused_queue_expires(connection, name):
    ch = connection.channel()
    ch.queue_declare(name, arguments={"x-expires": 100})
    used = connection.channel()
    used.queue_declare(name + ".used", arguments={"x-expires": 100})
    Inbox(used, name + ".used")
    gone = []

    def is_gone():
        # A passive declare counts as use, so the question is put to a name that it does not touch.
        try:
            channel = connection.channel()
            channel.queue_bind(name, "amq.direct", "probe")
            channel.close()
        except pika.exceptions.ChannelClosedByBroker as closed:
            gone.append(closed.reply_code)
        return gone

    until(connection, is_gone, "the queue has expired")
    assert gone == [404]
    # The one with a consumer is in use as long as that lasts.
    assert ready(ch, name + ".used") == 0
    ch.queue_delete(name + ".used")


# ---- dead letters


def test_rejected_message_becomes_a_dead_letter(ch, publish, name, dead):
    letters, arguments = dead
    ch.queue_declare(name, exclusive=True, arguments=arguments)
    ch.queue_bind(name, "amq.direct", name + ".key")
    publish("amq.direct", name + ".key", b"bad", headers={"mine": 1}, delivery_mode=2, message_id="m")
    publish("", name, b"good")
    ch.basic_reject(get(ch, name, auto_ack=False)[0].delivery_tag, requeue=False)
    ch.basic_ack(get(ch, name, auto_ack=False)[0].delivery_tag)
    method, properties, body = get(ch, letters)
    assert (body, method.exchange, method.routing_key) == (b"bad", "", letters)
    assert (properties.message_id, properties.delivery_mode, properties.headers["mine"]) == ("m", 2, 1)
    (death,) = properties.headers["x-death"]
    assert death["reason"] == "rejected"
    assert (death["queue"], death["exchange"], death["routing-keys"]) == (name, "amq.direct", [name + ".key"])
    assert death["count"] == 1 and death["time"].year >= 2024
    assert properties.headers["x-first-death-queue"] == name
    assert properties.headers["x-first-death-reason"] == "rejected"
    assert properties.headers["x-first-death-exchange"] == "amq.direct"
    assert ready(ch, letters) == 0


@pytest.mark.differs_in_rabbitmq_3("x-last-death-* came with 3.13")
def test_last_death_is_told(ch, publish, name, dead):
    letters, arguments = dead
    ch.queue_declare(name, exclusive=True, arguments=arguments)
    publish("", name, b"")
    ch.basic_reject(get(ch, name, auto_ack=False)[0].delivery_tag, requeue=False)
    headers = get(ch, letters)[1].headers
    told = [headers["x-last-death-" + what] for what in ["queue", "reason", "exchange"]]
    assert told == [name, "rejected", ""]


def test_dead_letter_keeps_its_key_when_none_is_given(ch, publish, name):
    ch.exchange_declare(name, "topic", auto_delete=True)
    letters = ch.queue_declare("", exclusive=True).method.queue
    ch.queue_bind(letters, name, "#")
    ch.queue_declare(name, exclusive=True, arguments={"x-dead-letter-exchange": name})
    publish("", name, b"")
    ch.basic_nack(get(ch, name, auto_ack=False)[0].delivery_tag, requeue=False)
    method, _, _ = get(ch, letters)
    assert (method.exchange, method.routing_key) == (name, name)


def test_retry_ladder_counts_its_deaths(ch, publish, name):
    """The common way to retry later: work -> (rejected) wait -> (expired) work."""
    work, wait = name + ".work", name + ".wait"
    ch.queue_declare(work, exclusive=True, arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": wait})
    ch.queue_declare(
        wait,
        exclusive=True,
        arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": work, "x-message-ttl": 20},
    )
    publish("", work, b"try me")
    inbox = Inbox(ch, work)
    for attempt in range(3):
        method, properties, _ = inbox.wait(attempt + 1)[attempt]
        deaths = (properties.headers or {}).get("x-death", [])
        assert [(death["queue"], death["count"]) for death in deaths] == (
            [(wait, attempt), (work, attempt)] if attempt else []
        )
        assert not method.redelivered
        ch.basic_nack(method.delivery_tag, requeue=False)
    inbox.wait(4)


def test_a_cycle_without_rejection_is_dropped(ch, publish, name):
    ch.queue_declare(
        name,
        exclusive=True,
        arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": name, "x-message-ttl": 1},
    )
    publish("", name, b"round and round")
    await_ready(ch, name, 0)
    assert ch.basic_get(name)[0] is None


def test_a_strange_x_death_from_a_client_does_no_harm(ch, publish, name, dead):
    letters, arguments = dead
    ch.queue_declare(name, exclusive=True, arguments=arguments)
    for strange in ["text", 5, [1, "two"], {}]:
        if RABBITMQ_3 and isinstance(strange, list):
            continue
        publish("", name, b"", headers={"x-death": strange})
        ch.basic_reject(get(ch, name, auto_ack=False)[0].delivery_tag, requeue=False)
        assert get(ch, letters)[1].headers["x-death"][0]["reason"] == "rejected"


def test_a_dead_letter_published_again_counts_on(ch, publish, name, dead):
    """The common way to retry by hand: consume the dead letter and publish it as it is."""
    letters, arguments = dead
    ch.queue_declare(name, exclusive=True, arguments=arguments)
    headers = {"mine": 1}
    for count in range(1, 4):
        publish("", name, b"", headers=headers)
        ch.basic_reject(get(ch, name, auto_ack=False)[0].delivery_tag, requeue=False)
        headers = get(ch, letters)[1].headers
        (death,) = headers["x-death"]
        assert (death["queue"], death["reason"], death["count"]) == (name, "rejected", count)
        assert (headers["mine"], headers["x-first-death-queue"]) == (1, name)


def test_dead_letter_of_another_broker_is_told_on(ch, publish, name, dead):
    letters, arguments = dead
    ch.queue_declare(name, exclusive=True, arguments=arguments)
    other = {"queue": "other", "reason": "expired", "count": 7, "exchange": "x", "routing-keys": ["k"]}
    publish("", name, b"", headers={"x-death": [other]})
    ch.basic_reject(get(ch, name, auto_ack=False)[0].delivery_tag, requeue=False)
    deaths = get(ch, letters)[1].headers["x-death"]
    assert [(death["queue"], death["count"]) for death in deaths] == [(name, 1), ("other", 7)]


def test_dead_letter_goes_by_its_headers(ch, publish, name):
    letters = {colour: ch.queue_declare("", exclusive=True).method.queue for colour in ["red", "blue"]}
    for colour, queue in letters.items():
        ch.queue_bind(queue, "amq.headers", arguments={"x-match": "all", name: colour})
    ch.queue_declare(name, exclusive=True, arguments={"x-dead-letter-exchange": "amq.headers"})
    publish("", name, b"seen", headers={name: "red"})
    ch.basic_reject(get(ch, name, auto_ack=False)[0].delivery_tag, requeue=False)
    assert get(ch, letters["red"])[2] == b"seen"
    assert ready(ch, letters["blue"]) == 0


def test_dead_letter_keeps_its_further_keys_unless_it_is_given_one(ch, publish, name):
    first, second, own = (ch.queue_declare("", exclusive=True).method.queue for _ in range(3))
    ch.queue_bind(first, "amq.direct", name)
    ch.queue_bind(second, "amq.direct", name + ".cc")
    ch.queue_declare(name, exclusive=True, arguments={"x-dead-letter-exchange": "amq.direct"})
    publish("", name, b"", headers={"CC": [name + ".cc"]})
    ch.basic_reject(get(ch, name, auto_ack=False)[0].delivery_tag, requeue=False)
    headers = get(ch, first)[1].headers
    assert headers["x-death"][0]["routing-keys"] == [name, name + ".cc"]
    assert headers["CC"] == [name + ".cc"]
    assert get(ch, second)[0].routing_key == name
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": own}
    keyed = ch.queue_declare("", exclusive=True, arguments=arguments).method.queue
    publish("", keyed, b"", headers={"CC": [second]})
    ch.basic_reject(get(ch, keyed, auto_ack=False)[0].delivery_tag, requeue=False)
    headers = get(ch, own)[1].headers
    assert headers["x-death"][0]["routing-keys"] == [keyed, second]
    assert "CC" not in headers
    assert drain(ch, second) == [b""], "by its CC it went there once, when it was published"


def test_delivery_limit(ch, publish, name, dead):
    letters, arguments = dead
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 2, **arguments}
    ch.queue_declare(name, durable=True, arguments=arguments)
    try:
        publish("", name, b"poison", delivery_mode=2, headers={"mine": 1})
        for returns in range(3):
            method, properties, _ = get(ch, name, auto_ack=False)
            assert method.redelivered == (returns > 0)
            assert properties.headers.get("x-delivery-count", 0) == returns
            assert properties.headers["mine"] == 1
            ch.basic_reject(method.delivery_tag, requeue=True)
        _, properties, body = get(ch, letters)
        assert body == b"poison"
        (death,) = properties.headers["x-death"]
        assert (death["queue"], death["reason"], death["count"]) == (name, "delivery_limit", 1)
        assert "x-delivery-count" not in properties.headers
        assert ch.basic_get(name)[0] is None
    finally:
        ch.queue_delete(name)


def test_dead_letters_for_a_missing_exchange_are_dropped(ch, publish, name):
    ch.queue_declare(name, exclusive=True, arguments={"x-dead-letter-exchange": name + ".missing"})
    publish("", name, b"")
    ch.basic_reject(get(ch, name, auto_ack=False)[0].delivery_tag, requeue=False)
    assert ready(ch, name) == 0


# ---- length


def test_max_length_drops_the_oldest(ch, publish, name, dead):
    letters, arguments = dead
    ch.queue_declare(name, exclusive=True, arguments={"x-max-length": 3, **arguments})
    fill(publish, name, 5)
    assert drain(ch, name) == [b"2", b"3", b"4"]
    inbox = Inbox(ch, letters, auto_ack=True)
    assert inbox.bodies(2) == [b"0", b"1"]
    assert inbox.messages[0][1].headers["x-death"][0]["reason"] == "maxlen"


def test_max_length_counts_ready_messages_only(ch, publish, name):
    ch.queue_declare(name, exclusive=True, arguments={"x-max-length": 2})
    fill(publish, name, 2)
    for _ in range(2):
        get(ch, name, auto_ack=False)
    fill(publish, name, 2)
    assert ready(ch, name) == 2
    assert drain(ch, name) == [b"0", b"1"]


def test_max_length_in_bytes(ch, publish, name):
    ch.queue_declare(name, exclusive=True, arguments={"x-max-length-bytes": 100})
    for letter in [b"a", b"b", b"c"]:
        publish("", name, letter * 40)
    assert drain(ch, name) == [b"b" * 40, b"c" * 40]


def test_reject_publish_nacks(ch, publish, name):
    ch.queue_declare(name, exclusive=True, arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    fill(publish, name, 2)
    with pytest.raises(pika.exceptions.NackError):
        publish("", name, b"no room")
    assert drain(ch, name) == [b"0", b"1"]
    publish("", name, b"room again")


def test_reject_publish_dlx(ch, publish, name, dead):
    letters, arguments = dead
    ch.queue_declare(
        name, exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish-dlx", **arguments}
    )
    publish("", name, b"in")
    with pytest.raises(pika.exceptions.NackError):
        publish("", name, b"out")
    assert get(ch, letters)[2] == b"out"
    assert drain(ch, name) == [b"in"]


def test_a_transaction_does_not_overfill(connection, ch, name, dead):
    letters, arguments = dead
    overflow = {"x-max-length": 2, "x-overflow": "reject-publish-dlx"}
    ch.queue_declare(name, exclusive=True, arguments={**overflow, **arguments})
    tx = connection.channel()
    tx.tx_select()
    for body in [b"0", b"1", b"2", b"3"]:
        tx.basic_publish("", name, body)
    assert channel_refuses(406, tx.tx_commit) == "PRECONDITION_FAILED - partial tx completion"
    assert drain(ch, name) == [b"0", b"1"]
    assert Inbox(ch, letters, auto_ack=True).bodies(2) == [b"2", b"3"]


# ---- what is not offered


# ---- priorities


def test_higher_priority_first_and_order_within(ch, publish, name):
    ch.queue_declare(name, exclusive=True, arguments={"x-max-priority": 10})
    for body, priority in [(b"a", 1), (b"b", 5), (b"c", None), (b"d", 5), (b"e", 200), (b"f", 10), (b"g", 0)]:
        publish("", name, body, priority=priority)
    # Above the maximum counts as the maximum, none as 0.
    assert drain(ch, name) == [b"e", b"f", b"b", b"d", b"a", b"c", b"g"]


def test_requeued_message_keeps_its_priority(ch, publish, name):
    ch.queue_declare(name, exclusive=True, arguments={"x-max-priority": 5})
    for body, priority in [(b"low", 1), (b"high", 3)]:
        publish("", name, body, priority=priority)
    method, _, body = get(ch, name, auto_ack=False)
    assert body == b"high"
    ch.basic_nack(method.delivery_tag, requeue=True)
    await_ready(ch, name, 2)
    assert drain(ch, name) == [b"high", b"low"]


def test_a_queue_without_priorities_ignores_them(ch, publish, queue):
    for body, priority in [(b"a", 1), (b"b", 9)]:
        publish("", queue, body, priority=priority)
    assert drain(ch, queue) == [b"a", b"b"]


# ---- single active consumer


def test_single_active_consumer_and_its_heir(ch, publish, name):
    ch.queue_declare(name, exclusive=True, arguments={"x-single-active-consumer": True})
    first, second = Inbox(ch, name), Inbox(ch, name)
    fill(publish, name, 3)
    first.wait(3)
    ch.basic_ack(0, multiple=True)
    assert second.messages == []
    ch.basic_cancel(first.tag)
    publish("", name, b"for the heir")
    assert second.bodies(1) == [b"for the heir"]


def test_exclusive_consumer_on_single_active_queue_is_403(ch, name):
    ch.queue_declare(name, exclusive=True, arguments={"x-single-active-consumer": True})
    channel_refuses(403, Inbox, ch, name, exclusive=True)

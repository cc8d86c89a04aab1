"""Queues, exchanges and bindings: what may be declared, what is refused and with which code."""

import re

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

# ---- queues


def test_declare_tells_ready_messages_and_consumers(ch, publish, name):
    ok = ch.queue_declare(name, durable=True).method
    assert (ok.queue, ok.message_count, ok.consumer_count) == (name, 0, 0)
    fill(publish, name, 3)
    Inbox(ch, name)
    await_ready(ch, name, 0)
    publish.channel.basic_publish("", name, b"")
    ok = ch.queue_declare(name, durable=True).method
    assert ok.consumer_count == 1
    ch.queue_delete(name)


def test_declare_twice_with_equal_arguments(ch, name):
    arguments = {"x-message-ttl": 60_000, "x-max-length": 10, "x-not-known": "a"}
    for _ in range(2):
        ch.queue_declare(name, durable=True, arguments=arguments)
    ch.queue_declare(name, durable=True, arguments=dict(arguments, **{"x-queue-type": "classic"}))
    ch.queue_delete(name)


@pytest.mark.parametrize(
    "changed",
    [{"durable": False}, {"auto_delete": True}, {"arguments": {"x-max-length": 5}}],
    ids=["durable", "auto_delete", "argument"],
)
def test_redeclare_with_a_difference_is_406(connection, name, changed):
    ch = connection.channel()
    ch.queue_declare(name, durable=True)
    text = channel_refuses(406, ch.queue_declare, name, **{"durable": True, **changed})
    assert text.startswith("PRECONDITION_FAILED - inequivalent arg '")
    assert f"for queue '{name}' in vhost '/'" in text
    connection.channel().queue_delete(name)


def test_integer_arguments_compare_by_value_and_others_by_type(connection, name):
    ch = connection.channel()
    ch.queue_declare(name, exclusive=True, arguments={"x-max-length": 5})
    # Too large for 32 bits and back: the type on the wire differs, the class of types does not.
    ch.queue_declare(name, exclusive=True, arguments={"x-max-length": 5})
    text = channel_refuses(406, ch.queue_declare, name, exclusive=True, arguments={"x-max-length": 6})
    assert "inequivalent arg 'x-max-length'" in text


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-message-ttl": -1},
        {"x-message-ttl": "10"},
        {"x-expires": 0},
        {"x-expires": -1},
        {"x-max-length": -1},
        {"x-max-length-bytes": -1},
        {"x-max-priority": 256},
        {"x-max-priority": -1},
        {"x-overflow": "nonsense"},
        {"x-dead-letter-routing-key": "k"},
        {"x-dead-letter-exchange": 1},
        {"x-single-active-consumer": "yes"},
    ],
    ids=lambda arguments: "{}={}".format(*next(iter(arguments.items()))),
)
def test_bad_argument_is_406(ch, name, arguments):
    text = channel_refuses(406, ch.queue_declare, name, durable=True, arguments=arguments)
    assert text.startswith("PRECONDITION_FAILED - invalid ") and f"'{next(iter(arguments))}'" in text


def test_passive_declare(connection, name):
    ch = connection.channel()
    text = channel_refuses(404, ch.queue_declare, name, passive=True)
    assert text == f"NOT_FOUND - no queue '{name}' in vhost '/'"
    ch = connection.channel()
    ch.queue_declare(name, exclusive=True, arguments={"x-max-length": 5})
    # Passive looks at nothing but the name.
    assert ch.queue_declare(name, passive=True).method.queue == name


def test_server_named_queues(ch):
    names = [ch.queue_declare("", exclusive=True).method.queue for _ in range(3)]
    assert len(set(names)) == 3
    assert all(re.fullmatch(r"amq\.gen-[A-Za-z0-9_-]{22}", name) for name in names), names
    # By that name it can be asked for, but the reserved prefix may not be declared, not even again.
    assert ch.queue_declare(names[0], passive=True).method.queue == names[0]
    channel_refuses(403, ch.queue_declare, names[0], exclusive=True)


def test_reserved_names_are_403(connection):
    text = channel_refuses(403, connection.channel().queue_declare, "amq.mine", durable=True)
    assert text.startswith("ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'")
    text = channel_refuses(403, connection.channel().exchange_declare, "amq.mine", "direct")
    assert "amq.mine" in text
    channel_refuses(404, connection.channel().queue_declare, "amq.mine", passive=True)


def test_empty_name_means_the_last_queue_declared(ch, publish, name):
    ch.queue_declare("", exclusive=True)
    mine = ch.queue_declare("", exclusive=True).method.queue
    ch.queue_bind("", "amq.direct", name)
    publish("amq.direct", name, b"by key")
    # Neither queue nor key: the queue's name is the key.
    ch.queue_bind("", "amq.direct", "")
    publish("amq.direct", mine, b"by name")
    assert get(ch, "") [2] == b"by key"
    assert drain(ch, "") == [b"by name"]
    publish("", mine, b"")
    assert ch.queue_purge("").method.message_count == 1
    Inbox(ch, "")
    assert ch.queue_delete("").method.message_count == 0
    channel_refuses(404, ch.queue_declare, mine, passive=True)


def test_empty_name_without_a_queue_is_404(ch):
    channel_refuses(404, ch.queue_purge, "")


def test_exclusive_queue_is_locked_for_other_connections(connect, ch, name):
    ch.queue_declare(name, exclusive=True)
    other = connect()
    for action in [
        lambda channel: channel.queue_declare(name, exclusive=True),
        lambda channel: channel.queue_declare(name, passive=True),
        lambda channel: channel.queue_bind(name, "amq.direct", "k"),
        lambda channel: channel.queue_purge(name),
        lambda channel: channel.queue_delete(name),
        lambda channel: channel.basic_get(name),
        lambda channel: channel.basic_consume(name, print),
    ]:
        text = channel_refuses(405, action, other.channel())
        assert text.startswith(f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}'")
    assert ch.queue_declare(name, exclusive=True).method.queue == name


def test_exclusive_queue_goes_with_its_connection(connect, ch, name):
    owner = connect()
    channel = owner.channel()
    channel.queue_declare(name, exclusive=True)
    channel.close()
    owner.channel().queue_declare(name, passive=True)
    owner.close()
    # Gone before close-ok was sent, so nothing to wait for.
    channel_refuses(404, ch.queue_declare, name, passive=True)


def test_exclusive_property_cannot_be_declared_away(ch, name):
    ch.queue_declare(name, exclusive=True)
    channel_refuses(405, ch.queue_declare, name)


def test_auto_delete_queue_goes_with_its_last_consumer(connection, name):
    ch = connection.channel()
    ch.queue_declare(name, auto_delete=True)
    ch.queue_declare(name, passive=True)
    first, second = Inbox(ch, name), Inbox(ch, name)
    ch.basic_cancel(first.tag)
    ch.queue_declare(name, passive=True)
    ch.basic_cancel(second.tag)
    channel_refuses(404, ch.queue_declare, name, passive=True)


def test_auto_delete_queue_goes_with_its_consumers_channel(connection, name):
    ch = connection.channel()
    ch.queue_declare(name, auto_delete=True)
    consumer = connection.channel()
    Inbox(consumer, name)
    consumer.close()
    gone = []

    def is_gone():
        try:
            connection.channel().queue_declare(name, passive=True)
        except pika.exceptions.ChannelClosedByBroker as closed:
            gone.append(closed.reply_code)
        return gone

    until(connection, is_gone, "the queue is gone")
    assert gone == [404]


def test_purge_removes_what_is_ready_only(ch, publish, queue):
    fill(publish, queue, 5)
    held = [get(ch, queue, auto_ack=False)[0].delivery_tag for _ in range(2)]
    assert ch.queue_purge(queue).method.message_count == 3
    assert ready(ch, queue) == 0
    ch.basic_nack(held[-1], multiple=True, requeue=True)
    await_ready(ch, queue, 2)
    assert drain(ch, queue) == [b"0", b"1"]


def test_delete_if_unused_and_if_empty(connection, publish, name):
    ch = connection.channel()
    ch.queue_declare(name, durable=True)
    inbox = Inbox(ch, name)
    text = channel_refuses(406, connection.channel().queue_delete, name, if_unused=True)
    assert text == f"PRECONDITION_FAILED - queue '{name}' in vhost '/' in use"
    ch.basic_cancel(inbox.tag)
    fill(publish, name, 2)
    text = channel_refuses(406, connection.channel().queue_delete, name, if_empty=True)
    assert text == f"PRECONDITION_FAILED - queue '{name}' in vhost '/' not empty"
    assert ch.queue_delete(name, if_unused=True).method.message_count == 2


def test_deleting_and_unbinding_what_is_not_there_succeeds(ch, queue, name):
    assert ch.queue_delete(name + ".no").method.message_count == 0
    ch.exchange_delete(name + ".no")
    ch.queue_unbind(queue, "amq.direct", "no such key")


def test_bindings_go_with_their_queue(ch, publish, name):
    ch.queue_declare(name, durable=True)
    ch.queue_bind(name, "amq.direct", name)
    ch.queue_delete(name)
    ch.queue_declare(name, durable=True)
    publish("amq.direct", name, b"lost")
    assert ready(ch, name) == 0
    ch.queue_delete(name)


# ---- exchanges


def test_predeclared_exchanges(ch):
    for exchange, kind in [
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.topic", "topic"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
    ]:
        ch.exchange_declare(exchange, kind, durable=True)
        ch.exchange_declare(exchange, passive=True)
    ch.exchange_declare("amq.rabbitmq.trace", "topic", durable=True, internal=True)


def test_system_exchanges_are_protected(connection, queue):
    text = channel_refuses(403, connection.channel().exchange_delete, "amq.direct")
    assert text.startswith("ACCESS_REFUSED - deletion of system exchange 'amq.direct'")
    for action in [
        lambda channel: channel.exchange_declare("", "direct", durable=True),
        lambda channel: channel.exchange_delete(""),
        lambda channel: channel.queue_bind(queue, "", "key"),
        lambda channel: channel.queue_unbind(queue, "", queue),
    ]:
        text = channel_refuses(403, action, connection.channel())
        assert text.startswith("ACCESS_REFUSED - operation not permitted on the default exchange")


@pytest.mark.parametrize(
    "changed",
    [
        {"exchange_type": "fanout"},
        {"durable": True},
        {"auto_delete": False},
        {"internal": True},
        {"arguments": {"alternate-exchange": "x"}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_redeclare_exchange_with_a_difference_is_406(connection, name, changed):
    ch = connection.channel()
    first = {"exchange_type": "direct", "auto_delete": True}
    ch.exchange_declare(name, **first)
    ch.exchange_declare(name, **first)
    text = channel_refuses(406, ch.exchange_declare, name, **{**first, **changed})
    assert text.startswith("PRECONDITION_FAILED - inequivalent arg '")
    assert f"for exchange '{name}' in vhost '/'" in text
    connection.channel().exchange_delete(name)


def test_missing_exchange_is_404(connection, queue, name):
    actions = [
        lambda channel: channel.exchange_declare(name, passive=True),
        lambda channel: channel.queue_bind(queue, name, "k"),
        lambda channel: channel.exchange_bind("amq.direct", name, "k"),
        lambda channel: channel.exchange_bind(name, "amq.direct", "k"),
    ]
    for action in actions:
        text = channel_refuses(404, action, connection.channel())
        assert text == f"NOT_FOUND - no exchange '{name}' in vhost '/'"
    ch = connection.channel()
    ch.basic_publish(name, "k", b"")
    assert channel_dies(404, ch) == f"NOT_FOUND - no exchange '{name}' in vhost '/'"


def test_binding_a_missing_queue_is_404(ch, name):
    channel_refuses(404, ch.queue_bind, name, "amq.direct", "k")


@pytest.mark.differs_in_rabbitmq_3("RabbitMQ 3 closes the connection with 503")
def test_unknown_exchange_type_is_406(ch, name):
    text = channel_refuses(406, ch.exchange_declare, name, "zz")
    assert "unknown exchange type 'zz'" in text


def test_delete_exchange_if_unused(connection, queue, name):
    ch = connection.channel()
    ch.exchange_declare(name, "direct")
    ch.queue_bind(queue, name, "k")
    text = channel_refuses(406, ch.exchange_delete, name, if_unused=True)
    assert text == f"PRECONDITION_FAILED - exchange '{name}' in vhost '/' in use"
    ch = connection.channel()
    ch.queue_unbind(queue, name, "k")
    ch.exchange_delete(name, if_unused=True)
    channel_refuses(404, ch.exchange_declare, name, passive=True)


def test_auto_delete_exchange_goes_with_its_last_binding(ch, queue, name):
    ch.exchange_declare(name, "direct", auto_delete=True)
    ch.exchange_declare(name, passive=True)
    ch.queue_bind(queue, name, "a")
    ch.queue_bind(queue, name, "b")
    ch.queue_unbind(queue, name, "a")
    ch.exchange_declare(name, passive=True)
    ch.queue_unbind(queue, name, "b")
    channel_refuses(404, ch.exchange_declare, name, passive=True)


def test_internal_exchange_takes_from_exchanges_only(connection, publish, queue, name):
    ch = connection.channel()
    ch.exchange_declare(name, "fanout", internal=True, auto_delete=True)
    ch.queue_bind(queue, name, "")
    ch.exchange_bind(name, "amq.direct", name)
    publish("amq.direct", name, b"through")
    assert drain(ch, queue) == [b"through"]
    ch.basic_publish(name, "", b"")
    text = channel_dies(403, ch)
    assert text == f"ACCESS_REFUSED - cannot publish to internal exchange '{name}' in vhost '/'"


# ---- routing


def test_direct_exchange(ch, publish, name):
    ch.exchange_declare(name, "direct", auto_delete=True)
    queues = [ch.queue_declare("", exclusive=True).method.queue for _ in range(2)]
    ch.queue_bind(queues[0], name, "one")
    ch.queue_bind(queues[0], name, "both")
    ch.queue_bind(queues[1], name, "both")
    # Bound twice is bound once.
    ch.queue_bind(queues[1], name, "both")
    for key in ["one", "both", "one.more", "", "ONE"]:
        publish(name, key, key.encode())
    assert drain(ch, queues[0]) == [b"one", b"both"]
    assert drain(ch, queues[1]) == [b"both"]


def test_fanout_exchange(ch, publish, name):
    ch.exchange_declare(name, "fanout", auto_delete=True)
    queues = [ch.queue_declare("", exclusive=True).method.queue for _ in range(100)]
    for queue in queues:
        ch.queue_bind(queue, name, "ignored")
    publish(name, "other", b"to all")
    assert [drain(ch, queue) for queue in queues] == [[b"to all"]] * len(queues)


TOPICS = [
    ("#", ["", "a", "a.b", "a.b.c"], []),
    ("*", ["a"], ["", "a.b"]),
    ("a.*", ["a.b", "a."], ["a", "a.b.c", "b.b"]),
    ("a.#", ["a", "a.b", "a.b.c"], ["b", "aa"]),
    ("*.b.*", ["a.b.c"], ["b", "a.b", "a.b.c.d", "a.a.c"]),
    ("#.b.#", ["b", "a.b", "b.c", "a.a.b.c.c"], ["a", "a.c"]),
    ("a.#.z", ["a.z", "a.b.z", "a.b.c.z"], ["a", "z", "a.z.b"]),
    ("*.#", ["a", "a.b", "a.b.c"], []),
    ("#.*", ["a", "a.b"], []),
    ("a.b", ["a.b"], ["a", "a.b.c", "a.B"]),
    ("a*.b", ["a*.b"], ["aa.b"]),
    ("#.#", ["", "a", "a.b"], []),
]


@pytest.mark.parametrize("pattern, matching, others", TOPICS, ids=[row[0] for row in TOPICS])
def test_topic_pattern(ch, publish, queue, name, pattern, matching, others):
    ch.exchange_declare(name, "topic", auto_delete=True)
    ch.queue_bind(queue, name, pattern)
    for key in matching + others:
        publish(name, key, key.encode())
    assert drain(ch, queue) == [key.encode() for key in matching]


def test_topic_delivers_once_however_many_patterns_fit(ch, publish, queue, name):
    ch.exchange_declare(name, "topic", auto_delete=True)
    for pattern in ["#", "a.#", "*.b", "a.b", "a.*"]:
        ch.queue_bind(queue, name, pattern)
    publish(name, "a.b", b"once")
    assert drain(ch, queue) == [b"once"]
    for pattern in ["#", "a.#", "*.b"]:
        ch.queue_unbind(queue, name, pattern)
    publish(name, "a.b", b"again")
    publish(name, "a.b.c", b"no more")
    assert drain(ch, queue) == [b"again"]


HEADERS = [
    ("all by default", {"a": 1, "b": "x"}, [{"a": 1, "b": "x"}, {"a": 1, "b": "x", "c": 0}], [{"a": 1}, {"a": 1, "b": "y"}, {}]),
    ("all", {"x-match": "all", "a": 1, "b": 2}, [{"a": 1, "b": 2}], [{"a": 1, "b": 3}, {"b": 2}]),
    ("any", {"x-match": "any", "a": 1, "b": 2}, [{"a": 1}, {"b": 2, "a": 9}], [{"a": 2, "b": 1}, {}]),
    ("all ignores x-", {"x-match": "all", "x-a": 1, "b": 2}, [{"b": 2}, {"b": 2, "x-a": 7}], [{"x-a": 1}]),
    ("any ignores x-", {"x-match": "any", "x-a": 1, "b": 2}, [{"b": 2}], [{"x-a": 1}]),
    ("all-with-x", {"x-match": "all-with-x", "x-a": 1, "b": 2}, [{"x-a": 1, "b": 2}], [{"b": 2}, {"x-a": 1}]),
    ("any-with-x", {"x-match": "any-with-x", "x-a": 1, "b": 2}, [{"x-a": 1}, {"b": 2}], [{"x-a": 2}]),
    ("void is presence", {"a": None}, [{"a": 1}, {"a": "x"}, {"a": None}], [{"b": 1}, {}]),
    ("types differ", {"a": 1}, [{"a": 1}], [{"a": "1"}, {"a": True}]),
    ("nothing asked, all", {"x-match": "all"}, [{}, {"a": 1}], []),
    ("nothing asked, any", {"x-match": "any"}, [], [{}, {"a": 1}]),
]


@pytest.mark.parametrize("_, arguments, matching, others", HEADERS, ids=[row[0] for row in HEADERS])
def test_headers_exchange(ch, publish, queue, name, _, arguments, matching, others):
    ch.exchange_declare(name, "headers", auto_delete=True)
    ch.queue_bind(queue, name, "", arguments)
    for number, headers in enumerate(matching + others):
        publish(name, "ignored", b"%d" % number, headers=headers)
    assert drain(ch, queue) == [b"%d" % number for number in range(len(matching))]


def test_headers_exchange_without_headers_at_all(ch, publish, queue, name):
    ch.exchange_declare(name, "headers", auto_delete=True)
    ch.queue_bind(queue, name, "", {"a": 1})
    publish(name, "", b"no headers")
    assert drain(ch, queue) == []


def test_headers_bindings_are_told_apart_by_their_arguments(ch, publish, queue, name):
    ch.exchange_declare(name, "headers", auto_delete=True)
    ch.queue_bind(queue, name, "", {"a": 1})
    ch.queue_bind(queue, name, "", {"a": 2})
    ch.queue_unbind(queue, name, "", {"a": 1})
    publish(name, "", b"one", headers={"a": 1})
    publish(name, "", b"two", headers={"a": 2})
    assert drain(ch, queue) == [b"two"]


def test_bad_x_match_is_406(ch, queue, name):
    ch.exchange_declare(name, "headers", auto_delete=True)
    text = channel_refuses(406, ch.queue_bind, queue, name, "", {"x-match": "some"})
    assert "Invalid x-match field value" in text


def test_exchange_to_exchange_bindings_with_a_loop(ch, publish, queue, name):
    first, second, third = (f"{name}.{number}" for number in "123")
    ch.exchange_declare(first, "direct")
    ch.exchange_declare(second, "topic")
    ch.exchange_declare(third, "fanout")
    ch.exchange_bind(second, first, "a.b")
    ch.exchange_bind(third, second, "a.*")
    ch.exchange_bind(first, third, "")
    ch.queue_bind(queue, third, "")
    # A second way to the same queue: it still gets one copy.
    ch.queue_bind(queue, second, "#")
    publish(first, "a.b", b"hit")
    publish(first, "a.c", b"miss")
    assert drain(ch, queue) == [b"hit"]
    ch.exchange_unbind(second, first, "a.b")
    publish(first, "a.b", b"cut off")
    assert drain(ch, queue) == []
    for exchange in (first, second, third):
        ch.exchange_delete(exchange)


def test_alternate_exchange(ch, publish, queue, name):
    ch.exchange_declare(name + ".alt", "fanout")
    ch.exchange_declare(name, "direct", arguments={"alternate-exchange": name + ".alt"})
    other = ch.queue_declare("", exclusive=True).method.queue
    ch.queue_bind(queue, name, "known")
    ch.queue_bind(other, name + ".alt", "")
    publish(name, "known", b"known", mandatory=True)
    # Routed by the alternate exchange counts as routed: nothing is returned.
    publish(name, "stranger", b"stranger", mandatory=True)
    assert (drain(ch, queue), drain(ch, other)) == ([b"known"], [b"stranger"])
    ch.exchange_delete(name + ".alt")
    with pytest.raises(pika.exceptions.UnroutableError):
        publish(name, "stranger", b"", mandatory=True)
    ch.exchange_delete(name)


def test_cc_and_bcc(connection, ch, publish, name):
    queues = {kind: ch.queue_declare(f"{name}.{kind}", exclusive=True).method.queue for kind in ["to", "cc", "bcc"]}
    headers = {"CC": [queues["cc"]], "BCC": [queues["bcc"]], "mine": 1}
    publish("", queues["to"], b"copied", headers=headers)
    for queue in queues.values():
        method, properties, body = get(ch, queue)
        assert body == b"copied"
        assert properties.headers == {"CC": [queues["cc"]], "mine": 1}
        assert method.routing_key == queues["to"]
    ch.basic_publish("", queues["to"], b"", pika.BasicProperties(headers={"CC": "not a list"}))
    channel_dies(406, ch)


def test_many_bindings(ch, publish, queue, name):
    ch.exchange_declare(name, "topic", auto_delete=True)
    for number in range(1_000):
        ch.queue_bind(queue, name, f"sensor.{number}.*")
    for number in [0, 500, 999, 1_000]:
        publish(name, f"sensor.{number}.temperature", b"%d" % number)
    assert drain(ch, queue) == [b"0", b"500", b"999"]


def test_names_of_255_bytes_and_other_alphabets(ch, publish, name):
    long = name + "x" * (255 - len(name))
    for queue in [long, name + ".站-žluť"]:
        ch.queue_declare(queue, exclusive=True)
        publish("", queue, b"here")
        assert drain(ch, queue) == [b"here"]


# ---- channels and connections


def test_an_error_on_one_channel_leaves_the_others_alone(connection, queue):
    good, bad = connection.channel(), connection.channel()
    inbox = Inbox(good, queue)
    good.basic_publish("", queue, b"before")
    inbox.wait(1)
    number = bad.channel_number
    channel_refuses(404, bad.queue_declare, "no.such.queue", passive=True)
    good.basic_publish("", queue, b"after")
    method, _, body = inbox.wait(2)[1]
    assert body == b"after"
    good.basic_ack(method.delivery_tag, multiple=True)
    # The number of the closed channel can be used again.
    again = connection.channel(number)
    assert again.queue_declare(queue, passive=True).method.message_count == 0


def test_2047_channels_on_one_connection(connection, name):
    assert connection._impl.params.channel_max in (0, 2047, 65535)
    channels = [connection.channel() for _ in range(2_047)]
    with pytest.raises(pika.exceptions.NoFreeChannels):
        connection.channel()
    last = channels[-1]
    assert last.queue_declare(name, exclusive=True).method.queue == name


def test_vhost_that_is_not_there(connect):
    with pytest.raises((pika.exceptions.ProbableAccessDeniedError, pika.exceptions.ConnectionClosedByBroker)) as refused:
        connect(virtual_host="nope")
    assert "530" in repr(refused.value)


def test_wrong_password(connect):
    with pytest.raises(pika.exceptions.ProbableAuthenticationError) as refused:
        connect(credentials=pika.PlainCredentials("guest", "wrong"))
    assert "403" in repr(refused.value) and "ACCESS_REFUSED" in repr(refused.value)


def test_server_tells_what_it_can(connection):
    told = connection._impl.server_properties
    assert told["product"] == "RabbitMQ"
    for capability in [
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    ]:
        assert told["capabilities"][capability] is True, capability


def test_update_secret(connection, queue):
    connection.update_secret("guest", "rotated")
    assert connection.channel().queue_declare(queue, passive=True).method.queue == queue


def test_heartbeats_keep_an_idle_connection(connect):
    connection = connect(heartbeat=1)
    sent = []
    # Three intervals: an answerless peer would be given up after two.
    connection.call_later(3, lambda: sent.append(1))
    until(connection, lambda: sent, "three seconds have gone")
    assert connection.channel().is_open


def test_reused_consumer_tag_closes_the_connection(connect, name):
    connection = connect()
    ch = connection.channel()
    ch.queue_declare(name, exclusive=True)
    for _ in range(2):
        ch._impl._send_method(pika.spec.Basic.Consume(queue=name, consumer_tag="same"))
    assert "attempt to reuse consumer tag 'same'" in connection_dies(530, connection)

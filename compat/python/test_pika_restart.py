"""What outlives the broker: durable topology and persistent messages that were confirmed."""

import pika
import pytest
from conftest import (
    HOST,
    PATIENCE_S,
    PORT,
    Inbox,
    broker,
    channel_refuses,
    drain,
    fill,
    get,
    ready,
    until,
)


@pytest.fixture
def reconnect(connect):
    """Connects as a client that recovers does: again and again until the broker is there."""

    def reconnect():
        return connect(connection_attempts=PATIENCE_S * 10, retry_delay=0.1)

    return reconnect


FORGETFUL = pytest.mark.differs_in_rabbitmq_3("may forget a queue that was declared seconds before SIGKILL")


@pytest.mark.parametrize("verb", ["restart", pytest.param("crash", marks=FORGETFUL)])
def test_durable_things_outlive_the_broker(connect, reconnect, name, verb):
    connection = connect()
    ch = connection.channel()
    ch.confirm_delivery()
    ch.queue_declare(name, durable=True, arguments={"x-max-length": 1_000})
    ch.queue_declare(name + ".transient", auto_delete=True)
    ch.exchange_declare(name, "topic", durable=True)
    ch.exchange_declare(name + ".inner", "fanout", durable=True)
    ch.exchange_declare(name + ".transient", "topic")
    ch.exchange_bind(name + ".inner", name, "key.#")
    ch.queue_bind(name, name + ".inner", "")
    ch.queue_bind(name, name + ".transient", "#")
    persistent = pika.BasicProperties(delivery_mode=2, headers={"n": [1, {"a": None}]}, message_id="m")
    for number in range(200):
        ch.basic_publish(name, "key.one", b"%d" % number, persistent)
    ch.basic_publish("", name, b"not persistent", pika.BasicProperties(delivery_mode=1))
    consumer = connection.channel()
    tags = [get(consumer, name, auto_ack=False)[0].delivery_tag for _ in range(3)]
    consumer.basic_ack(tags[0])
    # The confirm of a publish sent after the ack on its channel says that the ack counts.
    consumer.confirm_delivery()
    consumer.basic_publish("", name, b"200", persistent)
    big = bytes(range(256)) * 4_096
    ch.basic_publish("", name, big, persistent)

    broker(verb)

    connection = reconnect()
    ch = connection.channel()
    ch.queue_declare(name, durable=True, arguments={"x-max-length": 1_000})
    ch.exchange_declare(name, "topic", durable=True)
    channel_refuses(404, connection.channel().queue_declare, name + ".transient", passive=True)
    channel_refuses(404, connection.channel().exchange_declare, name + ".transient", passive=True)
    method, properties, body = get(ch, name)
    # Acked messages stay away, and those that were out come back in their places, marked.
    assert (body, method.redelivered) == (b"1", True)
    assert (properties.headers, properties.message_id) == ({"n": [1, {"a": None}]}, "m")
    assert drain(ch, name) == [b"%d" % number for number in range(2, 201)] + [big]
    ch.confirm_delivery()
    ch.basic_publish(name, "key.two", b"bound still", persistent)
    assert drain(ch, name) == [b"bound still"]
    ch.queue_delete(name)
    ch.exchange_delete(name)
    ch.exchange_delete(name + ".inner")


@FORGETFUL
def test_deleted_things_stay_deleted(connect, reconnect, name):
    ch = connect().channel()
    ch.queue_declare(name, durable=True)
    ch.queue_declare(name + ".purged", durable=True)
    ch.exchange_declare(name, "fanout", durable=True)
    ch.queue_bind(name + ".purged", name)
    ch.confirm_delivery()
    for _ in range(10):
        ch.basic_publish("", name + ".purged", b"", pika.BasicProperties(delivery_mode=2))
    ch.queue_delete(name)
    ch.queue_purge(name + ".purged")
    ch.queue_unbind(name + ".purged", name)
    ch.basic_publish("", name + ".purged", b"last", pika.BasicProperties(delivery_mode=2))

    broker("crash")

    connection = reconnect()
    channel_refuses(404, connection.channel().queue_declare, name, passive=True)
    ch = connection.channel()
    ch.confirm_delivery()
    ch.basic_publish(name, "", b"unbound")
    assert drain(ch, name + ".purged") == [b"last"]
    ch.queue_delete(name + ".purged")
    ch.exchange_delete(name)


def test_sigterm_tells_the_clients(connect, reconnect):
    connection = connect()
    connection.channel()
    broker("stop")
    with pytest.raises(pika.exceptions.AMQPConnectionError) as closed:
        until(connection, lambda: False, "the connection ends")
    assert isinstance(closed.value, pika.exceptions.ConnectionClosedByBroker), closed.value
    assert closed.value.reply_code == 320
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        pika.BlockingConnection(pika.ConnectionParameters(HOST, PORT))
    broker("start")
    reconnect().channel()


def test_a_consumer_that_reconnects_gets_the_rest(connect, reconnect, name):
    connection = connect()
    ch = connection.channel()
    ch.queue_declare(name, durable=True)
    sender = connection.channel()
    sender.confirm_delivery()

    def publish(exchange, key, body):
        sender.basic_publish(exchange, key, body, pika.BasicProperties(delivery_mode=2))

    fill(publish, name, 50)
    ch.basic_qos(prefetch_count=10)
    inbox = Inbox(ch, name)
    for method, _, _ in inbox.wait(10):
        ch.basic_ack(method.delivery_tag)
    # Whatever the acks did, this one is settled when the broker has answered after it.
    ch.tx_select()
    until(connection, lambda: len(inbox.messages) == 20, "the next ten")

    broker("restart")

    ch = reconnect().channel()
    rest = Inbox(ch, name)
    bodies = rest.bodies(40)
    assert bodies == [b"%d" % number for number in range(10, 50)]
    assert [method.redelivered for method, _, _ in rest.messages[:10]] == [True] * 10
    ch.basic_ack(0, multiple=True)
    ch.queue_declare(name, passive=True, durable=True)
    assert ready(ch, name) == 0
    ch.queue_delete(name)

"""A topic of Kafka is a stream queue of AMQP and the other way round (docs/protocols/mapping.md): pika and
confluent-kafka on one broker."""

import contextlib
import json
import os
import time

import pika
import pytest
from conftest import broker, create, done, listed, recently, send, take, to_the_end, until, values
from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import ConfigResource, NewPartitions
from verdicts import PATIENCE_S

STREAM = {"x-queue-type": "stream"}


@pytest.fixture
def amqp():
    """Makes channels, each on a connection of its own."""
    made = []

    def channel(prefetch=1_000):
        host, port = os.environ["AMQP_HOST"], int(os.environ["AMQP_PORT"])
        made.append(pika.BlockingConnection(pika.ConnectionParameters(host, port, heartbeat=0)))
        channel = made[-1].channel()
        channel.basic_qos(prefetch_count=prefetch)
        channel.confirm_delivery()
        return channel

    yield channel
    for connection in made:
        # A test may have ended it, or the broker of it.
        with contextlib.suppress(pika.exceptions.AMQPError):
            connection.close()


class Reader:
    """A consumer of a stream queue that keeps what it is given."""

    def __init__(self, channel, queue, offset="first", acks=False):
        self.channel, self.messages, self.acks = channel, [], acks
        channel.basic_consume(queue, self._take, arguments={"x-stream-offset": offset})

    def _take(self, channel, method, properties, body):
        self.messages.append((method, properties, body))
        if self.acks:
            channel.basic_ack(method.delivery_tag)

    def wait(self, count):
        end = time.monotonic() + PATIENCE_S
        while len(self.messages) < count:
            assert time.monotonic() < end, f"{len(self.messages)} of {count} messages came"
            self.channel.connection.process_data_events(time_limit=0.1)
        return self.messages[:count]

    def bodies(self, count):
        return [body for _, _, body in self.wait(count)]

    def offsets(self, count):
        return [properties.headers["x-stream-offset"] for _, properties, _ in self.wait(count)]


# ---- from Kafka to AMQP


def test_a_kafka_record_shows_key_value_headers_and_time(topic, clients, amqp):
    at = recently()
    headers = [("trace", b"1"), ("raw", b"\xff\x00"), ("amqp.content-type", b"application/json"), ("amqp.correlation-id", b"c")]
    producer = clients.producer()
    send(producer, topic, [b'{"a":1}'], key=b"k.1", headers=headers, timestamp=at)
    send(producer, topic, [b"no key"])
    send(producer, topic, [None], key=b"\xfe\x01")
    (method, first, body), (_, second, _), (binary, third, empty) = Reader(amqp(), topic).wait(3)
    assert (method.exchange, method.routing_key, body) == ("", "k.1", b'{"a":1}')
    assert first.headers == {"trace": "1", "raw": b"\xff\x00", "x-stream-offset": 0}
    assert (first.content_type, first.correlation_id, first.timestamp) == ("application/json", "c", at // 1_000)
    assert (first.delivery_mode, first.message_id, first.user_id) == (None, None, None)
    assert second.headers == {"x-stream-offset": 1}
    assert (binary.routing_key, empty) == ("", b"")
    assert third.headers == {"x-kafka-tombstone": True, "x-kafka-key": b"\xfe\x01", "x-stream-offset": 2}


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_batches_come_record_by_record(topic, clients, amqp, codec):
    reader = Reader(amqp(prefetch=7), topic, acks=True)
    producer = clients.producer(compression_type=codec, linger_ms=50)
    sent = [b"%d %s" % (number, b"x" * 100) for number in range(1_000)]
    send(producer, topic, sent, key=b"k")
    assert reader.bodies(1_000) == sent
    assert reader.offsets(1_000) == list(range(1_000))
    # From the middle of a batch on.
    assert Reader(amqp(), topic, offset=501).bodies(499) == sent[501:]


def test_kafka_reads_its_own_to_the_byte_while_amqp_reads_along(topic, clients, amqp):
    producer = clients.producer(compression_type="zstd", enable_idempotence=True)
    reader = Reader(amqp(prefetch=10), topic, acks=True)
    sent = send(producer, topic, [b"%d" % number for number in range(100)], key=b"k", headers=[("h", None), ("h", b"2")])
    reader.wait(100)
    got = take(clients.reader(topic), 100)
    assert values(got) == [message.value() for message in sent]
    assert {tuple(message.headers()) for message in got} == {(("h", None), ("h", b"2"))}


def test_amqp_sees_what_is_committed(topic, clients, amqp):
    producer = clients.producer(transactional_id=topic)
    producer.init_transactions(PATIENCE_S)
    reader = Reader(amqp(), topic)
    for values_, commit in [([b"1", b"2"], True), ([b"aborted"], False), ([b"3"], True)]:
        producer.begin_transaction()
        for value in values_:
            producer.produce(topic, value)
        producer.flush(PATIENCE_S)
        (producer.commit_transaction if commit else producer.abort_transaction)(PATIENCE_S)
    assert reader.bodies(3) == [b"1", b"2", b"3"]
    # A marker, and an aborted record with its marker, lie between.
    assert reader.offsets(3) == [0, 1, 5]


# ---- from AMQP to Kafka


def test_an_amqp_message_shows_body_key_headers_and_properties(topic, clients, amqp):
    channel = amqp()
    channel.exchange_declare(topic, "topic", durable=True)
    channel.queue_bind(topic, topic, "orders.#")
    headers = {"n": 7, "flag": True, "text": "é", "list": [1, "a"], "table": {"x": "y"}}
    properties = pika.BasicProperties(
        headers=headers, content_type="text/plain", delivery_mode=1, priority=3, correlation_id="c", reply_to="r",
        expiration="60000", message_id="m", timestamp=1_700_000_000, type="t", user_id="guest", app_id="a",
    )
    before = int(time.time() * 1_000)
    channel.basic_publish(topic, "orders.new", b"body", properties, mandatory=True)
    [message] = take(clients.reader(topic), 1)
    assert (message.key(), message.value(), message.offset()) == (b"orders.new", b"body", 0)
    assert before - 1_000 <= message.timestamp()[1] <= int(time.time() * 1_000) + 1_000
    seen = dict(message.headers())
    own = seen.pop("yam.amqp-0-9-1")
    assert own.startswith(bytes([len(topic)]) + topic.encode())
    assert json.loads(seen.pop("list")) == [1, "a"]
    assert json.loads(seen.pop("table")) == {"x": "y"}
    assert seen == {
        "n": b"7", "flag": b"true", "text": "é".encode(),
        "amqp.exchange": topic.encode(), "amqp.content-type": b"text/plain", "amqp.delivery-mode": b"1",
        "amqp.priority": b"3", "amqp.correlation-id": b"c", "amqp.reply-to": b"r", "amqp.expiration": b"60000",
        "amqp.message-id": b"m", "amqp.timestamp": b"1700000000", "amqp.type": b"t", "amqp.user-id": b"guest",
        "amqp.app-id": b"a",
    }
    # AMQP reads it back as it was.
    [(method, read, body)] = Reader(amqp(), topic).wait(1)
    assert (method.exchange, method.routing_key, body) == (topic, "orders.new", b"body")
    assert read.headers == headers | {"x-stream-offset": 0}
    read.headers = headers
    assert read == properties
    # And so it is when Kafka copies it to another topic.
    other = topic + ".copy"
    send(clients.producer(), other, [message.value()], key=message.key(), headers=message.headers())
    [(method, read, body)] = Reader(amqp(), other).wait(1)
    assert (method.exchange, method.routing_key, body) == (topic, "orders.new", b"body")
    read.headers.pop("x-stream-offset")
    assert read == properties


def test_what_is_confirmed_over_amqp_is_fetched_at_once(topic, clients, amqp):
    channel, consumer = amqp(), clients.reader(topic)
    for number in range(50):
        channel.basic_publish("", topic, b"%d" % number)
        assert take(consumer, 1)[0].value() == b"%d" % number


def test_a_stream_declared_over_amqp_is_a_topic(admin, name, clients, amqp):
    channel = amqp()
    arguments = STREAM | {"x-max-age": "2h", "x-max-length-bytes": 10_000_000}
    channel.queue_declare(name, durable=True, arguments=arguments)
    assert len(listed(admin, name).partitions) == 1
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    config = done(admin.describe_configs([resource]))
    assert (config["retention.ms"].value, config["retention.bytes"].value) == ("7200000", "10000000")
    channel.basic_publish("", name, b"1")
    send(clients.producer(), name, [b"2"])
    assert values(take(clients.reader(name), 2)) == [b"1", b"2"]
    assert channel.queue_declare(name, passive=True).method.message_count == 2
    channel.queue_delete(name)
    until(lambda: not listed(admin, name).partitions, "the topic is gone")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker):
        channel.queue_declare(name, passive=True)


# ---- both ways


def test_both_write_and_both_read_all_in_one_order(topic, clients, amqp):
    channel, producer = amqp(), clients.producer()
    first = Reader(amqp(prefetch=5), topic, acks=True)
    sent = []
    for number in range(100):
        value = b"%d" % number
        if number % 3:
            send(producer, topic, [value])
        else:
            channel.basic_publish("", topic, value)
        sent.append(value)
    assert first.bodies(100) == sent
    assert first.offsets(100) == list(range(100))
    assert values(take(clients.reader(topic), 100)) == sent
    consumer = clients.consumer(enable_partition_eof=True)
    consumer.assign([TopicPartition(topic, 0, 90)])
    assert values(to_the_end(consumer)) == sent[90:]


def test_the_partitions_of_a_topic_are_streams(admin, name, clients, amqp):
    create(admin, name, partitions=3)
    channel = amqp()
    # RabbitMQ's super stream.
    channel.exchange_declare(name, "direct", durable=True)
    for number in range(3):
        channel.queue_bind(f"{name}-{number}", name, str(number))
        channel.basic_publish(name, str(number), b"%d" % number, mandatory=True)
        [message] = take(clients.reader(name, number), 1)
        assert (message.partition(), message.value()) == (number, b"%d" % number)
    done(admin.create_partitions([NewPartitions(name, 4)]))
    send(clients.producer(), name, [b"3"], partition=3)
    assert Reader(amqp(), f"{name}-3").bodies(1) == [b"3"]
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        channel.queue_delete(f"{name}-3")
    assert closed.value.reply_code == 406


def test_a_topic_that_is_deleted_ends_its_consumers(admin, topic, amqp):
    channel, ended = amqp(), []
    channel.add_on_cancel_callback(lambda frame: ended.append(frame))
    Reader(channel, topic)
    done(admin.delete_topics([topic]))
    end = time.monotonic() + PATIENCE_S
    while not ended:
        assert time.monotonic() < end, "the consumer was not told"
        channel.connection.process_data_events(time_limit=0.1)


def test_a_name_that_kafka_does_not_allow_is_amqps_alone(admin, name, amqp):
    channel, stream = amqp(), f"{name}/é"
    channel.queue_declare(stream, durable=True, arguments=STREAM)
    channel.basic_publish("", stream, b"x", mandatory=True)
    assert Reader(amqp(), stream).bodies(1) == [b"x"]
    assert stream not in admin.list_topics(timeout=PATIENCE_S).topics


def test_a_crash_takes_nothing_that_was_confirmed(topic, clients, amqp):
    channel, producer = amqp(), clients.producer(enable_idempotence=True)
    channel.queue_bind(topic, "amq.direct", topic)
    for number in range(0, 100, 2):
        channel.basic_publish("amq.direct", topic, b"%d" % number)
        send(producer, topic, [b"%d" % (number + 1)])
    broker("crash")
    expected = [b"%d" % number for number in range(100)]
    assert Reader(amqp(), topic).bodies(100) == expected
    assert values(take(clients.reader(topic), 100)) == expected
    channel = amqp()
    channel.basic_publish("amq.direct", topic, b"100", mandatory=True)
    assert Reader(amqp(), topic, offset="last").bodies(1) == [b"100"]
    low, high = clients.reader(topic).get_watermark_offsets(TopicPartition(topic, 0), timeout=PATIENCE_S)
    assert (low, high) == (0, 101)


def test_a_queue_that_is_no_stream_is_amqps_alone(admin, name, amqp):
    amqp().queue_declare(name, durable=True)
    assert not listed(admin, name).partitions
    with pytest.raises(Exception) as refused:
        create(admin, name)
    assert refused.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS

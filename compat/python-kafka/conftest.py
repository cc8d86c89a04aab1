"""Topics and clients of confluent-kafka for the tests; those of other clients make their own."""

import concurrent.futures
import os
import queue
import threading
import time
import uuid

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, TopicMetadata
from verdicts import PATIENCE_S, broker  # noqa: F401

BOOTSTRAP = os.environ.get("KAFKA_BOOTSTRAP", "localhost:9092")
SASL_BOOTSTRAP = os.environ.get("KAFKA_SASL_BOOTSTRAP", BOOTSTRAP)

#: librdkafka as it is but for its pauses: ten seconds between two attempts to connect are a long test.
CLIENT = {
    "bootstrap.servers": BOOTSTRAP,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 200,
    "retry.backoff.ms": 50,
    "socket.timeout.ms": 10_000,
}
GROUP = {"auto.offset.reset": "earliest", "heartbeat.interval.ms": 200}
#: A member that says goodbye just before SIGKILL may not have been heard: the next one waits for its session to end.
SHORT_SESSION = {"session.timeout.ms": 6_000}


@pytest.fixture
def name(request):
    """A name that nothing else uses, and that a topic may have."""
    safe = "".join(c if c.isalnum() else "-" for c in request.node.name.removeprefix("test_"))
    return f"{safe[:60]}.{uuid.uuid4().hex[:8]}"


@pytest.fixture(scope="session")
def admin():
    return AdminClient(CLIENT)


@pytest.fixture
def topic(admin, name):
    """A topic with one partition."""
    create(admin, name)
    return name


def create(admin, name, partitions=1, **config):
    """Makes a topic; underscores stand for the dots of its settings."""
    config = {key.replace("_", "."): str(value) for key, value in config.items()}
    done(admin.create_topics([NewTopic(name, partitions, 1, config=config)]))
    # In Kafka the controller knows it a little earlier than the broker that clients ask.
    until(lambda: len(partitions_of(admin, name)) == partitions, f"{name} is there")


def partitions_of(admin, name):
    return {number for number, found in listed(admin, name).partitions.items() if found.leader >= 0}


def listed(admin, name):
    """What the metadata of all topics say of one: asking for it by name could make it."""
    return admin.list_topics(timeout=PATIENCE_S).topics.get(name, TopicMetadata())


def done(futures):
    """The results of an admin call, once they are all there: one if one thing was asked for."""
    results = [future.result(PATIENCE_S) for future in futures.values()]
    return results[0] if len(results) == 1 else results


def refused(code, action, *arguments, **options):
    """The action ends with this error of Kafka; its text is returned."""
    with pytest.raises(KafkaException) as problem:
        action(*arguments, **options)
    assert problem.value.args[0].code() == code, problem.value.args[0]
    return problem.value.args[0].str()


def until(condition, what, patience=PATIENCE_S):
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"not within {patience} s: {what}"
        time.sleep(0.01)


@pytest.fixture
def clients():
    """Makes clients of confluent-kafka that are closed when the test is over."""
    made = Clients()
    yield made
    for close in reversed(made.closers):
        close()


class Clients:
    def __init__(self):
        self.closers = []

    def producer(self, **options):
        return Producer(CLIENT | dotted(options))

    def consumer(self, group=None, **options):
        consumer = Consumer(CLIENT | GROUP | {"group.id": group or f"none.{uuid.uuid4().hex[:8]}"} | dotted(options))
        self.closers.append(consumer.close)
        return consumer

    def reader(self, topic, partition=0, offset=0, **options):
        """A consumer without a group that begins at an offset."""
        consumer = self.consumer(**{"enable.auto.commit": False} | options)
        consumer.assign([TopicPartition(topic, partition, offset)])
        return consumer

    def member(self, group, topics, **options):
        member = Member(self, group, topics, options)
        self.closers.append(member.close)
        return member


def dotted(options):
    return {key if key.endswith("_cb") else key.replace("_", "."): value for key, value in options.items()}


class Member:
    """A consumer in a group, polled by a thread of its own. It knows what it was given."""

    def __init__(self, clients, group, topics, options):
        self.consumer = Consumer(CLIENT | GROUP | {"group.id": group} | dotted(options))
        self.assigned, self.messages, self.errors, self.rebalances = set(), [], [], 0
        self.cooperative = options.get("partition_assignment_strategy") == "cooperative-sticky"
        self.ending, self.commits = False, queue.Queue()
        self.consumer.subscribe(topics, on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked)
        self.thread = threading.Thread(target=self._poll, daemon=True)
        self.thread.start()

    def _assigned(self, consumer, partitions):
        (consumer.incremental_assign if self.cooperative else consumer.assign)(partitions)
        self.rebalances += 1
        self.assigned |= {(p.topic, p.partition) for p in partitions}

    def _revoked(self, consumer, partitions):
        if self.cooperative:
            consumer.incremental_unassign(partitions)
        self.assigned -= {(p.topic, p.partition) for p in partitions}

    def _poll(self):
        while not self.ending:
            message = self.consumer.poll(0.05)
            if message is not None:
                (self.errors if message.error() else self.messages).append(message)
            while not self.commits.empty():
                self.commits.get().set_result(self.consumer.commit(asynchronous=False))

    def has(self, count):
        """Waits until it has that many partitions."""
        until(lambda: len(self.assigned) == count, f"{count} partitions")
        return set(self.assigned)

    def values(self, count):
        """The first `count` values, sorted, once they are there."""
        until(lambda: len(self.messages) >= count, f"{count} messages")
        return sorted(int(message.value()) for message in self.messages)

    def commit(self):
        """Commits what was taken, in the thread that polls."""
        result = concurrent.futures.Future()
        self.commits.put(result)
        return result.result(PATIENCE_S)

    def close(self):
        """Leaves the group."""
        if not self.ending:
            self.ending = True
            self.thread.join(PATIENCE_S)
            self.consumer.close()


def send(producer, topic, values, **options):
    """Produces the values and waits until every one of them is acknowledged; their messages."""
    reports = []
    for value in values:
        value = value if isinstance(value, (bytes, type(None))) else str(value).encode()
        producer.produce(topic, value, on_delivery=lambda error, message: reports.append((error, message)), **options)
        producer.poll(0)
    assert producer.flush(PATIENCE_S) == 0, "not all messages were acknowledged in time"
    errors = [error for error, _ in reports if error is not None]
    if errors:
        raise KafkaException(errors[0])
    return [message for _, message in reports]


def take(consumer, count, patience=PATIENCE_S):
    """The next `count` messages."""
    messages, end = [], time.monotonic() + patience
    while len(messages) < count:
        message = consumer.poll(0.1)
        if message is not None and not transient(message.error()):
            assert message.error() is None, message.error()
            messages.append(message)
        assert time.monotonic() < end, f"{len(messages)} of {count} messages came"
    return messages


def to_the_end(consumer):
    """All messages up to the end of each partition; the consumer must have enable.partition.eof."""
    messages, open_, end = [], {(p.topic, p.partition) for p in consumer.assignment()}, time.monotonic() + PATIENCE_S
    while open_:
        assert time.monotonic() < end, f"no end of {open_}"
        message = consumer.poll(0.1)
        if message is None or transient(message.error()):
            continue
        if message.error() is None:
            messages.append(message)
        else:
            assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
            open_.discard((message.topic(), message.partition()))
    return messages


def transient(error):
    """What a consumer is told while its broker is away; it goes on by itself."""
    return error is not None and (error.retriable() or error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT))


def values(messages):
    return [message.value() for message in messages]


def numbers(*span):
    return [b"%d" % number for number in range(*span)]


def recently():
    """A minute ago in milliseconds: a record that is much older may go for its age."""
    return int(time.time() * 1_000) - 60_000

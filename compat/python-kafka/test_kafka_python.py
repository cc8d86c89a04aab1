"""kafka-python 3: producing, groups, transactions, admin, restarts."""

import contextlib
import threading
import time

import pytest
from conftest import BOOTSTRAP, PATIENCE_S, SASL_BOOTSTRAP, broker, numbers, recently, until
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition, errors
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

ASSIGNORS = [RangePartitionAssignor, RoundRobinPartitionAssignor, StickyPartitionAssignor, CooperativeStickyAssignor]
CLIENT = {"bootstrap_servers": BOOTSTRAP, "reconnect_backoff_max_ms": 200, "retry_backoff_ms": 50}
GROUP = {"auto_offset_reset": "earliest", "heartbeat_interval_ms": 200}


@pytest.fixture
def clients():
    with contextlib.ExitStack() as stack:
        yield Clients(stack)


class Clients:
    def __init__(self, stack):
        self.stack = stack

    def _keep(self, client, **options):
        self.stack.callback(client.close, **options)
        return client

    def producer(self, **options):
        return self._keep(KafkaProducer(**CLIENT | options), timeout=PATIENCE_S)

    def consumer(self, *topics, group=None, **options):
        return self._keep(KafkaConsumer(*topics, group_id=group, **CLIENT | GROUP | options))

    def reader(self, topic, partition=0, **options):
        """A consumer without a group, at the beginning."""
        consumer = self.consumer(**options)
        consumer.assign([TopicPartition(topic, partition)])
        consumer.seek_to_beginning()
        return consumer

    def member(self, *topics, **options):
        return self._keep(Member(self.consumer(*topics, **options)))


class Member:
    """A consumer in a group, polled by a thread of its own. It knows what it was given."""

    def __init__(self, consumer):
        self.consumer, self.values, self.problem = consumer, [], None
        self.ending, self.committing = False, False
        self.thread = threading.Thread(target=self._poll, daemon=True)
        self.thread.start()

    def _poll(self):
        try:
            while not self.ending:
                # A poll that ends in the middle of joining loses what it was given (kafka-python 3.0.12
                # takes the answer of SyncGroup and forgets it), so that none may be short.
                for records in self.consumer.poll(1_000).values():
                    self.values += [int(record.value) for record in records]
                if self.committing:
                    self.consumer.commit()
                    self.committing = False
        except Exception as problem:
            self.problem = problem
            raise
        finally:
            self.consumer.close()

    @property
    def assigned(self):
        return self.consumer.assignment()

    def commit(self):
        self.committing = True
        until(lambda: not self.committing, "the commit")

    def close(self):
        self.ending = True
        self.thread.join(PATIENCE_S)
        assert self.problem is None, self.problem


@pytest.fixture
def admin():
    client = KafkaAdminClient(**CLIENT)
    yield client
    client.close()


@pytest.fixture
def topic(admin, name):
    return create(admin, name)


def create(admin, name, partitions=1, **config):
    config = {key.replace("_", "."): str(value) for key, value in config.items()}
    wanted = {"num_partitions": partitions, "replication_factor": 1, "configs": config}
    admin.create_topics({name: wanted}, wait_for_metadata=True)
    return name


def send(producer, topic, values, **options):
    """Produces and waits for every answer."""
    futures = [producer.send(topic, value if value is None else b"%d" % value, **options) for value in values]
    producer.flush(PATIENCE_S)
    return [future.get(PATIENCE_S) for future in futures]


def take(consumer, count):
    """The next `count` records."""
    taken, end = [], time.monotonic() + PATIENCE_S
    while len(taken) < count:
        assert time.monotonic() < end, f"{len(taken)} of {count} records came"
        for records in consumer.poll(1_000, max_records=count - len(taken)).values():
            taken += records
    return taken


def values(records):
    return [record.value for record in records]


def to_the_end(consumer):
    """The values up to where the partition ends for this consumer."""
    ((part, end),) = consumer.end_offsets(list(consumer.assignment())).items()
    taken, late = [], time.monotonic() + PATIENCE_S
    while consumer.position(part) < end:
        assert time.monotonic() < late, f"at {consumer.position(part)} of {end}"
        for records in consumer.poll(1_000).values():
            taken += values(records)
    return taken


# ---- produce and consume


def test_a_record_comes_back_as_it_was(clients, topic):
    producer, time_ = clients.producer(), recently()
    headers = [("a", b"1"), ("a", b"2"), ("empty", b"")]
    (sent,) = send(producer, topic, [7], key=b"key", headers=headers, timestamp_ms=time_)
    send(producer, topic, [None], key=b"tombstone")
    assert (sent.topic, sent.partition, sent.offset) == (topic, 0, 0)
    first, second = take(clients.reader(topic), 2)
    assert (first.key, first.value, list(first.headers), first.timestamp) == (b"key", b"7", headers, time_)
    assert (second.key, second.value, second.offset) == (b"tombstone", None, 1)


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_acks(clients, topic, acks):
    send(clients.producer(acks=acks, enable_idempotence=acks == "all"), topic, range(100))
    assert values(take(clients.reader(topic), 100)) == numbers(100)


def test_gzip(clients, topic):
    send(clients.producer(compression_type="gzip", linger_ms=20), topic, range(1_000))
    assert values(take(clients.reader(topic), 1_000)) == numbers(1_000)


def test_offsets_and_times(clients, topic):
    producer, base = clients.producer(), recently()
    for number in range(10):
        send(producer, topic, [number], timestamp_ms=base + number * 10)
    consumer, part = clients.reader(topic), TopicPartition(topic, 0)
    assert (consumer.beginning_offsets([part])[part], consumer.end_offsets([part])[part]) == (0, 10)
    found = consumer.offsets_for_times({part: base + 41})[part]
    assert (found.offset, found.timestamp) == (5, base + 50)
    assert consumer.offsets_for_times({part: base + 91})[part] is None
    consumer.seek(part, 7)
    assert values(take(consumer, 3)) == numbers(7, 10)


# ---- groups


@pytest.mark.parametrize("kind", ASSIGNORS, ids=lambda kind: kind.name)
def test_a_group_rebalances_as_members_come_and_go(clients, admin, name, kind):
    strategy = {"partition_assignment_strategy": [kind]}
    create(admin, name, 4)
    producer = clients.producer()
    first = clients.member(name, group=name, **strategy)
    until(lambda: len(first.assigned) == 4, "all partitions")
    second = clients.member(name, group=name, **strategy)
    until(lambda: len(first.assigned) == len(second.assigned) == 2, "two partitions each")
    for partition in range(4):
        send(producer, name, range(partition * 5, partition * 5 + 5), partition=partition)
    until(lambda: len(first.values) == len(second.values) == 10, "ten records each")
    assert sorted(first.values + second.values) == list(range(20))
    second.close()
    until(lambda: len(first.assigned) == 4, "all partitions again")
    for partition in range(4):
        send(producer, name, [20 + partition], partition=partition)
    until(lambda: set(range(20, 24)) <= set(first.values), "what came after it")


def test_commits_are_where_the_next_member_begins(clients, topic):
    send(clients.producer(), topic, range(10))
    part = TopicPartition(topic, 0)
    consumer = clients.consumer(topic, group=topic, enable_auto_commit=False)
    take(consumer, 10)
    consumer.commit({part: OffsetAndMetadata(6, "note é", -1)})
    found = consumer.committed(part, metadata=True)
    assert (found.offset, found.metadata) == (6, "note é")
    consumer.close()
    consumer = clients.consumer(topic, group=topic)
    assert values(take(consumer, 4)) == numbers(6, 10)
    # What was taken is committed by closing.
    consumer.close()
    assert clients.consumer(group=topic).committed(part) == 10


# ---- restarts


@pytest.mark.parametrize("verb", ["restart", "crash"])
def test_clients_go_on_after_the_broker_came_back(clients, topic, verb):
    producer = clients.producer()
    send(producer, topic, range(50))
    member = clients.member(topic, group=topic, enable_auto_commit=False)
    until(lambda: len(member.values) == 50, "fifty records")
    member.commit()

    broker(verb)

    send(producer, topic, range(50, 100))
    until(lambda: len(member.values) >= 100, "a hundred records")
    assert member.values == list(range(100))
    member.commit()
    member.close()
    assert clients.consumer(group=topic).committed(TopicPartition(topic, 0)) == 100
    assert to_the_end(clients.reader(topic)) == numbers(100)


# ---- transactions


def committed_values(clients, topic):
    return to_the_end(clients.reader(topic, isolation_level="read_committed"))


def test_committed_is_seen_and_aborted_is_not(clients, topic):
    producer = clients.producer(transactional_id=topic)
    producer.init_transactions()
    for attempt, end in enumerate([producer.commit_transaction, producer.abort_transaction] * 2):
        producer.begin_transaction()
        send(producer, topic, range(attempt * 10, attempt * 10 + 10))
        end()
    assert committed_values(clients, topic) == numbers(10) + numbers(20, 30)
    assert to_the_end(clients.reader(topic)) == numbers(40)


def test_consume_transform_produce(clients, admin, name):
    create(admin, name + ".in")
    create(admin, name + ".out")
    send(clients.producer(), name + ".in", range(10))
    part = TopicPartition(name + ".in", 0)
    consumer = clients.consumer(name + ".in", group=name, enable_auto_commit=False)
    producer = clients.producer(transactional_id=name)
    producer.init_transactions()
    for end in [producer.abort_transaction, producer.commit_transaction]:
        records = take(consumer, 10)
        producer.begin_transaction()
        send(producer, name + ".out", [int(record.value) * 2 for record in records])
        producer.send_offsets_to_transaction({part: OffsetAndMetadata(10, "", -1)}, consumer.group_metadata())
        end()
        if end == producer.abort_transaction:
            assert consumer.committed(part) is None
            consumer.seek(part, 0)
    assert committed_values(clients, name + ".out") == [b"%d" % (number * 2) for number in range(10)]
    assert consumer.committed(part) == 10


def test_an_older_producer_of_the_same_id_is_fenced(clients, topic):
    old = clients.producer(transactional_id=topic)
    old.init_transactions()
    old.begin_transaction()
    send(old, topic, [1])
    new = clients.producer(transactional_id=topic)
    new.init_transactions()
    with pytest.raises((errors.ProducerFencedError, errors.InvalidProducerEpochError)):
        old.commit_transaction()
    new.begin_transaction()
    send(new, topic, [2])
    new.commit_transaction()
    assert committed_values(clients, topic) == [b"2"]


@pytest.mark.parametrize("verb", ["restart", "crash"])
def test_an_open_transaction_outlives_the_broker(clients, topic, verb):
    producer = clients.producer(transactional_id=topic)
    producer.init_transactions()
    producer.begin_transaction()
    send(producer, topic, [0])

    broker(verb)

    send(producer, topic, [1])
    producer.commit_transaction()
    assert committed_values(clients, topic) == numbers(2)


# ---- admin


def test_topics_are_made_described_and_deleted(admin, name):
    create(admin, name, 3)
    (found,) = admin.describe_topics([name])
    assert len(found["partitions"]) == 3
    with pytest.raises(errors.TopicAlreadyExistsError):
        create(admin, name)
    admin.create_partitions({name: 5})
    until(lambda: len(admin.describe_topics([name])[0]["partitions"]) == 5, "five partitions")
    admin.delete_topics([name])
    until(lambda: name not in admin.list_topics(), "it is gone")
    with pytest.raises(errors.UnknownTopicOrPartitionError):
        admin.delete_topics([name])


def test_the_cluster_is_described(admin):
    cluster = admin.describe_cluster()
    assert cluster["cluster_id"]
    assert cluster["controller_id"] in [each["broker_id"] for each in cluster["brokers"]]


def test_settings(admin, topic):
    def settings(filter_):
        resource = ConfigResource(ConfigResourceType.TOPIC, topic)
        return admin.describe_configs([resource], config_filter=filter_)["topic"][topic]

    assert {"cleanup.policy", "retention.ms", "max.message.bytes"} <= set(settings("all"))
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs={"retention.ms": "60000"})])
    until(lambda: "retention.ms" in settings("modified"), "it is changed")
    broker_settings = admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, "1")], config_filter="all")
    assert "num.partitions" in next(iter(broker_settings["broker"].values()))


def test_records_are_deleted_and_offsets_listed(clients, admin, topic):
    send(clients.producer(), topic, range(10))
    part = TopicPartition(topic, 0)
    assert admin.delete_records({part: 4})[part]["low_watermark"] == 4
    found = admin.list_partition_offsets({part: OffsetSpec.EARLIEST})
    assert found[part].offset == 4
    assert to_the_end(clients.reader(topic)) == numbers(4, 10)


def test_groups_are_listed_described_reset_and_deleted(clients, admin, topic):
    send(clients.producer(), topic, range(10))
    member = clients.member(topic, group=topic, client_id="one-of-us")
    until(lambda: len(member.values) == 10, "ten records")
    assert topic in [group["group_id"] for group in admin.list_groups()]
    found = admin.describe_groups([topic])[topic]
    assert (found["group_state"], [each["client_id"] for each in found["members"]]) == ("Stable", ["one-of-us"])
    member.close()
    part = TopicPartition(topic, 0)
    admin.alter_group_offsets(topic, {part: OffsetAndMetadata(3, "", -1)})
    assert admin.list_group_offsets({topic: None})[topic][part].offset == 3
    assert values(take(clients.consumer(topic, group=topic + ".other"), 10)) == numbers(10)
    consumer = clients.consumer(topic, group=topic)
    assert values(take(consumer, 7)) == numbers(3, 10)
    consumer.close()
    admin.delete_groups([topic])
    assert topic not in [group["group_id"] for group in admin.list_groups()]


def test_open_transactions_are_described(clients, admin, topic):
    producer = clients.producer(transactional_id=topic)
    producer.init_transactions()
    producer.begin_transaction()
    send(producer, topic, [1])
    found = admin.describe_transactions([topic])[topic]
    assert (str(found.state.value), found.topic_partitions) == ("Ongoing", {TopicPartition(topic, 0)})
    assert topic in [each.transactional_id for listed in admin.list_transactions().values() for each in listed]
    ((active,),) = admin.describe_producers([TopicPartition(topic, 0)])[TopicPartition(topic, 0)]
    assert active.producer_id == found.producer_id
    producer.abort_transaction()


# ---- login


def test_sasl_plain(clients, topic):
    login = {"bootstrap_servers": SASL_BOOTSTRAP, "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
    guest = login | {"sasl_plain_username": "guest", "sasl_plain_password": "guest"}
    send(clients.producer(**guest), topic, range(10))
    assert values(take(clients.reader(topic, **guest), 10)) == numbers(10)
    with pytest.raises(errors.KafkaError):
        clients.producer(**guest | {"sasl_plain_password": "no", "bootstrap_timeout_ms": 2_000})

"""Where brokers that speak Kafka went wrong: each test is named after one such place. The list is
that of the reference; what is missing here is in the suites of Go and Java, whose clients show it."""

import json
import os
import signal
import socket
import struct
import time

import pytest
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, ResourceType
from conftest import (
    BOOTSTRAP,
    PATIENCE_S,
    SHORT_SESSION,
    broker,
    create,
    done,
    numbers,
    partitions_of,
    refused,
    send,
    take,
    to_the_end,
    until,
    values,
)
from kafka import KafkaConsumer
from kafka import TopicPartition as Part

ONE_BATCH = {"linger.ms": 500, "batch.num.messages": 1_000}


# ---- fetch


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_01_a_fetch_inside_a_batch_returns_it(clients, topic, codec):
    send(clients.producer(**ONE_BATCH, compression_type=codec), topic, range(100))
    for offset in (0, 1, 57, 99):
        assert values(take(clients.reader(topic, offset=offset), 100 - offset)) == numbers(offset, 100)


def test_02_a_batch_larger_than_the_limits_is_returned(clients, topic):
    big = [os.urandom(200_000) for _ in range(3)]
    send(clients.producer(linger_ms=0), topic, big)
    consumer = KafkaConsumer(
        bootstrap_servers=BOOTSTRAP, fetch_max_bytes=1_000, max_partition_fetch_bytes=1_000, auto_offset_reset="earliest"
    )
    consumer.assign([Part(topic, 0)])
    got, end = [], time.monotonic() + PATIENCE_S
    while len(got) < 3:
        assert time.monotonic() < end, f"{len(got)} of 3"
        for records in consumer.poll(200).values():
            got += [record.value for record in records]
    consumer.close()
    assert got == big


def test_03_a_fetch_that_finds_nothing_waits(clients, admin, name):
    """Five fetches of half a second each cannot be over in one second, however slow the machine is."""
    create(admin, name, 2)
    counts = []

    def read(text):
        told = json.loads(text)["brokers"].values()
        counts.append(sum(each["req"].get("Fetch", 0) for each in told if each["nodeid"] >= 0))

    consumer = clients.consumer(fetch_wait_max_ms=500, statistics_interval_ms=50, stats_cb=read)
    consumer.assign([TopicPartition(name, 0, 0), TopicPartition(name, 1, 0)])
    until(lambda: consumer.poll(0.01) or (counts and counts[-1] >= 1), "the first fetch")
    first, began = counts[-1], time.monotonic()
    until(lambda: consumer.poll(0.01) or counts[-1] >= first + 5, "five more")
    assert time.monotonic() - began > 1


def test_03_a_fetch_for_many_bytes_does_not_wait_for_ever(clients, topic):
    send(clients.producer(), topic, [0])
    assert values(take(clients.reader(topic, fetch_min_bytes=1_000_000, fetch_wait_max_ms=200), 1)) == [b"0"]


def test_05_the_committed_leader_epoch_comes_back(clients, topic):
    send(clients.producer(), topic, range(3))
    consumer = clients.consumer(topic, enable_auto_commit=False)
    consumer.subscribe([topic])
    last = take(consumer, 3)[-1]
    assert last.leader_epoch() is not None
    consumer.commit(message=last, asynchronous=False)
    (found,) = consumer.committed([TopicPartition(topic, 0)], PATIENCE_S)
    assert (found.offset, found.leader_epoch) == (3, last.leader_epoch())


def test_05_offsets_from_before_a_restart_are_still_good(clients, topic):
    """Epochs that go wrong look like truncation: the client would begin elsewhere."""
    send(clients.producer(), topic, range(10))
    consumer = clients.consumer(topic, enable_auto_commit=False, auto_offset_reset="error", **SHORT_SESSION)
    consumer.commit(offsets=[TopicPartition(topic, 0, 0)], asynchronous=False)
    consumer.subscribe([topic])
    consumer.commit(message=take(consumer, 5)[-1], asynchronous=False)
    consumer.close()
    broker("crash")
    send(clients.producer(), topic, range(10, 12))
    again = clients.consumer(topic, auto_offset_reset="error")
    again.subscribe([topic])
    assert values(take(again, 7)) == numbers(5, 12)


def test_08_read_committed_ends_where_a_transaction_is_open(clients, topic):
    producer = clients.producer(transactional_id=topic)
    producer.init_transactions(PATIENCE_S)
    producer.begin_transaction()
    producer.produce(topic, b"aborted")
    producer.flush(PATIENCE_S)
    send(clients.producer(), topic, [1])
    committed = clients.reader(topic, isolation_level="read_committed", enable_partition_eof=True)
    assert to_the_end(committed) == []
    # The mark that such a reader is told is not that of the others.
    part = TopicPartition(topic, 0)
    assert committed.get_watermark_offsets(part, PATIENCE_S) == (0, 0)
    assert clients.reader(topic, isolation_level="read_uncommitted").get_watermark_offsets(part, PATIENCE_S) == (0, 2)
    producer.abort_transaction(PATIENCE_S)
    assert values(take(committed, 1)) == [b"1"]


# ---- transactions and groups


def test_09_a_transaction_may_not_be_open_for_too_long(clients, topic):
    producer = clients.producer(transactional_id=topic, transaction_timeout_ms=900_001)
    refused(KafkaError.INVALID_TRANSACTION_TIMEOUT, producer.init_transactions, PATIENCE_S)


def test_10_many_members_at_once_share_everything(clients, admin, name):
    create(admin, name, 12)
    members = [clients.member(name, [name]) for _ in range(6)]

    def shared():
        """Each partition belongs to exactly one of them, and none is without."""
        owned = [set(member.assigned) for member in members if not member.ending]
        return all(owned) and len(set.union(*owned)) == sum(map(len, owned)) == 12

    until(shared, "everything is shared", 3 * PATIENCE_S)
    for member in members[:3]:
        member.close()
    until(shared, "everything is shared by those who stayed", 3 * PATIENCE_S)
    producer = clients.producer()
    for partition in range(12):
        send(producer, name, [partition], partition=partition)
    until(lambda: sum(len(member.messages) for member in members) == 12, "all messages")
    assert not any(member.errors for member in members)


def test_10_a_session_that_is_too_short_is_refused(clients, topic):
    consumer = clients.consumer(topic, session_timeout_ms=1_000, heartbeat_interval_ms=100)
    consumer.subscribe([topic])
    problems = []
    until(lambda: (found := consumer.poll(0.1)) is not None and problems.append(found.error()) is None, "an error")
    assert problems[0].code() == KafkaError.INVALID_SESSION_TIMEOUT


def test_11_a_static_member_keeps_its_place_and_fences_its_twin(clients, admin, name):
    create(admin, name, 2)
    first = clients.member(name, [name], group_instance_id="one")
    first.has(2)
    second = clients.member(name, [name], group_instance_id="one")
    second.has(2)
    until(lambda: first.errors, "the older is told")
    assert KafkaError.FENCED_INSTANCE_ID in {message.error().code() for message in first.errors} or (
        first.errors[0].error().code() == KafkaError._FATAL
    )


def test_12_a_group_that_does_not_exist_has_no_offsets(clients, topic):
    (found,) = clients.consumer(topic + ".nobody").committed([TopicPartition(topic, 0)], PATIENCE_S)
    assert (found.offset, found.error) == (OFFSET_INVALID, None)


def test_12_who_is_no_member_may_commit(clients, admin, topic):
    send(clients.producer(), topic, range(3))
    consumer = clients.consumer(topic, enable_auto_commit=False)
    consumer.assign([TopicPartition(topic, 0, 0)])
    consumer.commit(message=take(consumer, 2)[-1], asynchronous=False)
    (found,) = clients.consumer(topic).committed([TopicPartition(topic, 0)], PATIENCE_S)
    assert found.offset == 2
    assert topic in {group.group_id for group in admin.list_consumer_groups().result(PATIENCE_S).valid}
    assert done(admin.describe_consumer_groups([topic])).state.name == "EMPTY"


def test_13_metadata_of_offsets_comes_back(clients, topic):
    consumer = clients.consumer(topic, enable_auto_commit=False)
    for metadata in ("", "x" * 4_000):
        consumer.commit(offsets=[TopicPartition(topic, 0, 1, metadata)], asynchronous=False)
        (found,) = consumer.committed([TopicPartition(topic, 0)], PATIENCE_S)
        assert (found.metadata or "") == metadata
    refused(
        KafkaError.OFFSET_METADATA_TOO_LARGE,
        lambda: first_error(consumer.commit(offsets=[TopicPartition(topic, 0, 1, "x" * 4_097)], asynchronous=False)),
    )


def test_13_offsets_of_partitions_that_do_not_exist_are_refused(clients, topic):
    consumer = clients.consumer(topic)
    refused(
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        lambda: first_error(consumer.commit(offsets=[TopicPartition(topic, 7, 1)], asynchronous=False)),
    )


def first_error(parts):
    for part in parts:
        if part.error is not None:
            raise KafkaException(part.error)


# ---- compaction, sizes, codecs


COMPACT = {"cleanup_policy": "compact", "segment_ms": 100, "min_cleanable_dirty_ratio": 0.01, "delete_retention_ms": 100}


def test_14_compaction_keeps_the_last_of_each_key(clients, admin, name):
    create(admin, name, **COMPACT)
    producer = clients.producer()
    for number in range(30):
        send(producer, name, [number], key=b"%d" % (number % 3))
    send(producer, name, [None], key=b"0")

    def kept():
        # The newest segment is never compacted: something must come after what is looked at.
        send(producer, name, [99], key=b"other")
        seen = to_the_end(clients.reader(name, enable_partition_eof=True))
        return [(m.offset(), m.key(), m.value()) for m in seen if m.key() != b"other"]

    wanted = [(28, b"1", b"28"), (29, b"2", b"29")]
    # The cleaner comes every fifteen seconds, and takes a tombstone the second time it sees it.
    signal.alarm(9 * PATIENCE_S)
    until(lambda: kept() == wanted, "only the last values are left, at their offsets", 8 * PATIENCE_S)


def test_14_a_record_without_a_key_is_refused_where_keys_are_needed(clients, admin, name):
    create(admin, name, cleanup_policy="compact")
    producer = clients.producer()
    refused(KafkaError.INVALID_RECORD, send, producer, name, [1])
    send(producer, name, [1], key=b"key")


def test_15_the_size_of_a_batch_is_bounded_as_it_is_sent(clients, admin, name):
    create(admin, name, max_message_bytes=2_000)
    large = b"x" * 5_000
    refused(KafkaError.MSG_SIZE_TOO_LARGE, send, clients.producer(compression_type="none"), name, [large])
    send(clients.producer(compression_type="gzip"), name, [large])
    assert values(take(clients.reader(name), 1)) == [large]


def test_15_zstd_and_its_batches_stay_as_they_are(clients, topic):
    """Whoever unpacks and packs again loses what the producer chose."""
    given = [b"a" * 100_000]
    send(clients.producer(compression_type="zstd"), topic, given)
    sizes = []

    def stats(text):
        for each in json.loads(text)["brokers"].values():
            sizes.append(each["rxbytes"])

    reader = clients.reader(topic, statistics_interval_ms=50, stats_cb=stats)
    assert values(take(reader, 1)) == given
    before = len(sizes)
    until(lambda: reader.poll(0.05) or len(sizes) > before + 2, "statistics")
    assert 0 < max(sizes) < 50_000


# ---- settings and admin


def settings_of(admin, kind, name):
    return done(admin.describe_configs([ConfigResource(kind, str(name))]))


def test_16_all_settings_are_listed_and_taken_back(admin, topic, name):
    found = settings_of(admin, ResourceType.TOPIC, topic)
    expected = {
        "cleanup.policy", "compression.type", "delete.retention.ms", "file.delete.delay.ms", "flush.messages", "flush.ms",
        "index.interval.bytes", "max.compaction.lag.ms", "max.message.bytes", "message.timestamp.type",
        "min.cleanable.dirty.ratio", "min.compaction.lag.ms", "min.insync.replicas", "preallocate", "retention.bytes",
        "retention.ms", "segment.bytes", "segment.index.bytes", "segment.jitter.ms", "segment.ms",
        "unclean.leader.election.enable",
    }  # fmt: skip
    assert not expected - set(found)
    # Kafka of today writes this one down for the whole cluster.
    assert {entry.name for entry in found.values() if not entry.is_default} <= {"min.insync.replicas"}
    writable = {entry.name: entry.value for entry in found.values() if not entry.is_read_only and entry.value}
    entries = [ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in writable.items()]
    done(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)]))
    create(admin, name + ".copy", **writable)
    copy = settings_of(admin, ResourceType.TOPIC, name + ".copy")
    assert {key: copy[key].value for key in writable} == writable


def test_16_settings_of_the_broker_that_tools_read(admin):
    controller = admin.describe_cluster(request_timeout=PATIENCE_S).result(PATIENCE_S).controller.id
    found = settings_of(admin, ResourceType.BROKER, controller)
    expected = {
        "num.partitions", "default.replication.factor", "auto.create.topics.enable", "log.retention.ms",
        "log.retention.hours", "log.retention.bytes", "message.max.bytes", "min.insync.replicas", "offsets.retention.minutes",
    }  # fmt: skip
    assert not expected - set(found)


def test_17_altering_replaces_all_settings(admin, name):
    create(admin, name, retention_ms=60_000, max_message_bytes=5_000)
    done(admin.alter_configs([ConfigResource(ResourceType.TOPIC, name, set_config={"retention.ms": "70000"})]))
    until(lambda: settings_of(admin, ResourceType.TOPIC, name)["retention.ms"].value == "70000", "the new one")
    assert settings_of(admin, ResourceType.TOPIC, name)["max.message.bytes"].is_default


def test_17_what_is_wrong_with_a_new_topic_is_told(admin, topic, name):
    def make(new, **options):
        done(admin.create_topics([new], **options))

    make(NewTopic(name + ".valid", 3, 1), validate_only=True)
    assert not partitions_of(admin, name + ".valid")
    make(NewTopic(name + ".defaults", -1, -1))
    until(lambda: len(partitions_of(admin, name + ".defaults")) == 1, "a topic with defaults")
    refused(KafkaError.TOPIC_ALREADY_EXISTS, make, NewTopic(topic, 1, 1))
    refused(KafkaError.TOPIC_EXCEPTION, make, NewTopic("no/name", 1, 1))
    refused(KafkaError.TOPIC_EXCEPTION, make, NewTopic("x" * 250, 1, 1))
    refused(KafkaError.INVALID_PARTITIONS, make, NewTopic(name + ".no", 0, 1))
    refused(KafkaError.INVALID_REPLICATION_FACTOR, make, NewTopic(name + ".no", 1, 3))
    refused(KafkaError.INVALID_CONFIG, make, NewTopic(name + ".no", 1, 1, config={"retention.ms": "soon"}))
    refused(KafkaError.INVALID_CONFIG, make, NewTopic(name + ".no", 1, 1, config={"no.such.setting": "1"}))
    assert not partitions_of(admin, name + ".no")


def test_19_a_name_that_no_topic_can_have_is_refused_at_once(clients):
    refused(KafkaError.TOPIC_EXCEPTION, send, clients.producer(), "no/name", [1])


def test_20_each_item_has_its_own_answer(admin, name):
    create(admin, name)
    made = admin.create_topics([NewTopic(name, 1, 1), NewTopic(name + ".new", 1, 1)])
    assert errors(made) == {name: KafkaError.TOPIC_ALREADY_EXISTS, name + ".new": None}
    until(lambda: partitions_of(admin, name + ".new"), "the new one")
    more = admin.create_partitions([NewPartitions(name, 2), NewPartitions(name + ".not", 2)])
    assert errors(more) == {name: None, name + ".not": KafkaError.UNKNOWN_TOPIC_OR_PART}
    gone = admin.delete_topics([name, name + ".not", name + ".new"])
    assert errors(gone) == {name: None, name + ".not": KafkaError.UNKNOWN_TOPIC_OR_PART, name + ".new": None}


def errors(futures):
    problems = {name: future.exception(PATIENCE_S) for name, future in futures.items()}
    return {name: problem and problem.args[0].code() for name, problem in problems.items()}


# ---- the wire


class Wire:
    """Frames on a plain socket."""

    def __init__(self):
        host, port = BOOTSTRAP.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        self.file = self.socket.makefile("rb")

    @staticmethod
    def request(key, version, correlation, body=b""):
        frame = struct.pack(">hhih", key, version, correlation, 4) + b"wire" + body
        return struct.pack(">i", len(frame)) + frame

    def answer(self):
        """Correlation id and the rest; None where the broker has closed."""
        try:
            head = self.file.read(4)
        except ConnectionResetError:
            return None
        if len(head) < 4:
            return None
        frame = self.file.read(struct.unpack(">i", head)[0])
        return struct.unpack(">i", frame[:4])[0], frame[4:]


@pytest.fixture
def wire():
    wire = Wire()
    yield wire
    wire.socket.close()


API_VERSIONS, PRODUCE, METADATA, FETCH = 18, 0, 3, 1


def test_18_no_topics_and_all_topics(wire, topic):
    """A null list stands for all and an empty one for none, but in version 0."""
    for version, body, whole in [
        (1, struct.pack(">i", -1), True),
        (1, struct.pack(">i", 0), False),
        (0, struct.pack(">i", 0), True),
    ]:
        wire.socket.sendall(wire.request(METADATA, version, 1, body))
        assert (topic.encode() in wire.answer()[1]) == whole, (version, body)


def test_22_answers_come_in_order_and_none_for_acks_0(wire, topic):
    nothing = struct.pack(">hhii", -1, 0, 1_000, 0)
    # A fetch that waits, and what is asked behind it: at the end of the log there is nothing for 300 ms.
    fetch = struct.pack(">iiiibi", -1, 300, 1, 1_000_000, 0, 1) + struct.pack(">h", len(topic)) + topic.encode()
    fetch += struct.pack(">iiqi", 1, 0, 0, 1_000_000)
    wire.socket.sendall(
        wire.request(PRODUCE, 3, 1, nothing)
        + wire.request(API_VERSIONS, 0, 2)
        + wire.request(FETCH, 4, 3, fetch)
        + wire.request(PRODUCE, 3, 4, nothing)
        + wire.request(METADATA, 1, 5, struct.pack(">i", 0))
    )
    assert [wire.answer()[0] for _ in range(3)] == [2, 3, 5]


def test_api_versions_of_an_unknown_version_are_answered_in_version_0(wire):
    # Such a version is flexible, and its header ends with tags.
    wire.socket.sendall(wire.request(API_VERSIONS, 99, 7, b"\0\x05name\x021\0"))
    correlation, body = wire.answer()
    error, count = struct.unpack(">hi", body[:6])
    assert (correlation, error) == (7, 35)
    ranges = [struct.unpack(">hhh", body[6 + 6 * index : 12 + 6 * index]) for index in range(count)]
    assert API_VERSIONS in [key for key, _, _ in ranges]
    assert len(body) == 6 + 6 * count


def test_any_other_unknown_version_closes_the_connection(wire):
    wire.socket.sendall(wire.request(METADATA, 99, 1))
    assert wire.answer() is None


def test_a_frame_of_an_absurd_length_closes_the_connection(wire):
    wire.socket.sendall(struct.pack(">i", 2_000_000_000) + b"x" * 100)
    assert wire.answer() is None

"""confluent-kafka-python, which is librdkafka: producing, groups, transactions, admin, restarts."""

import pytest
from confluent_kafka import (
    OFFSET_END,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    OffsetSpec,
    ResourceType,
)
from conftest import (
    PATIENCE_S,
    SASL_BOOTSTRAP,
    SHORT_SESSION,
    broker,
    create,
    done,
    numbers,
    partitions_of,
    recently,
    refused,
    send,
    take,
    to_the_end,
    until,
    values,
)

# ---- produce and consume


def test_a_record_comes_back_as_it_was(clients, topic):
    producer = clients.producer()
    headers = [("a", b"1"), ("a", b"2"), ("empty", b""), ("null", None)]
    time = recently()
    (sent,) = send(producer, topic, [b"value"], key=b"key", headers=headers, timestamp=time)
    send(producer, topic, [None], key=b"tombstone")
    assert (sent.partition(), sent.offset()) == (0, 0)
    first, second = take(clients.reader(topic), 2)
    assert (first.key(), first.value(), first.headers()) == (b"key", b"value", headers)
    assert first.timestamp() == (TIMESTAMP_CREATE_TIME, time)
    assert (second.key(), second.value(), second.offset()) == (b"tombstone", None, 1)


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_compression(clients, topic, codec):
    producer = clients.producer(compression_type=codec, linger_ms=50, batch_num_messages=500)
    bodies = [b"%d " % number * 100 for number in range(1_000)]
    send(producer, topic, bodies)
    assert values(take(clients.reader(topic), 1_000)) == bodies


@pytest.mark.parametrize("acks", [0, 1, "all"])
def test_acks(clients, topic, acks):
    send(clients.producer(acks=acks), topic, range(100))
    assert values(take(clients.reader(topic), 100)) == numbers(100)


def test_an_idempotent_producer_keeps_order(clients, topic):
    producer = clients.producer(enable_idempotence=True, linger_ms=0, batch_num_messages=7)
    sent = send(producer, topic, range(1_000))
    assert [message.offset() for message in sent] == list(range(1_000))
    assert values(take(clients.reader(topic), 1_000)) == numbers(1_000)


def test_keys_choose_partitions(clients, admin, name):
    create(admin, name, 4)
    producer = clients.producer()
    chosen = {key: {m.partition() for m in send(producer, name, range(5), key=key)} for key in "abcdefgh"}
    assert all(len(partitions) == 1 for partitions in chosen.values())
    assert len(set.union(*chosen.values())) > 1


def test_a_topic_is_made_by_producing_to_it(clients, name, admin):
    send(clients.producer(), name, range(3))
    assert values(take(clients.reader(name), 3)) == numbers(3)
    assert len(partitions_of(admin, name)) == 1


def test_log_append_time(clients, admin, name):
    create(admin, name, message_timestamp_type="LogAppendTime")
    send(clients.producer(compression_type="lz4"), name, range(10), timestamp=1_000)
    kinds = {message.timestamp()[0] for message in take(clients.reader(name), 10)}
    times = {message.timestamp()[1] for message in take(clients.reader(name), 10)}
    assert kinds == {TIMESTAMP_LOG_APPEND_TIME}
    assert min(times) > 1_700_000_000_000


def test_a_long_poll_ends_when_something_comes(clients, topic):
    producer = clients.producer()
    send(producer, topic, [0])
    consumer = clients.reader(topic, fetch_wait_max_ms=10_000)
    take(consumer, 1)
    for number in range(1, 20):
        send(producer, topic, [number])
        # Less than the wait of one fetch, more than a busy machine needs.
        assert values(take(consumer, 1, patience=8)) == numbers(number, number + 1)


def test_offsets_and_times(clients, topic):
    producer, base = clients.producer(), recently()
    for number in range(10):
        send(producer, topic, [number], timestamp=base + number * 10)
    consumer = clients.reader(topic, enable_partition_eof=True)
    assert consumer.get_watermark_offsets(TopicPartition(topic, 0), PATIENCE_S) == (0, 10)

    def at(time):
        return consumer.offsets_for_times([TopicPartition(topic, 0, time)], PATIENCE_S)[0].offset

    assert [at(0), at(base), at(base + 41), at(base + 90), at(base + 91)] == [0, 0, 5, 9, OFFSET_END]
    consumer.seek(TopicPartition(topic, 0, 7))
    assert values(to_the_end(consumer)) == numbers(7, 10)


def test_pause_and_resume(clients, admin, name):
    create(admin, name, 2)
    consumer = clients.consumer()
    parts = [TopicPartition(name, 0, 0), TopicPartition(name, 1, 0)]
    consumer.assign(parts)
    consumer.pause(parts[:1])
    producer = clients.producer()
    send(producer, name, range(5), partition=0)
    send(producer, name, range(5, 10), partition=1)
    assert values(take(consumer, 5)) == numbers(5, 10)
    consumer.resume(parts[:1])
    assert values(take(consumer, 5)) == numbers(5)


# ---- groups


@pytest.mark.parametrize("strategy", ["range", "roundrobin", "cooperative-sticky"])
def test_a_group_rebalances_as_members_come_and_go(clients, admin, name, strategy):
    create(admin, name, 4)
    producer = clients.producer()
    first = clients.member(name, [name], partition_assignment_strategy=strategy)
    everything = first.has(4)
    second = clients.member(name, [name], partition_assignment_strategy=strategy)
    until(lambda: len(first.assigned) == len(second.assigned) == 2, "two partitions each")
    assert first.assigned | second.assigned == everything
    for partition in range(4):
        send(producer, name, range(partition * 5, partition * 5 + 5), partition=partition)
    until(lambda: len(first.messages) + len(second.messages) == 20, "all messages")
    assert sorted(first.values(10) + second.values(10)) == list(range(20))
    second.close()
    first.has(4)
    for partition in range(4):
        send(producer, name, [20 + partition], partition=partition)
    assert set(first.values(14)) >= set(range(20, 24))
    assert not first.errors and not second.errors


def test_commits_are_where_the_next_member_begins(clients, topic):
    send(clients.producer(), topic, range(10))
    consumer = clients.consumer(topic, enable_auto_commit=False)
    consumer.subscribe([topic])
    messages = take(consumer, 10)
    consumer.commit(message=messages[3], asynchronous=False)
    position = TopicPartition(topic, 0)
    assert consumer.committed([position], PATIENCE_S)[0].offset == 4
    committed = consumer.commit(offsets=[TopicPartition(topic, 0, 6, "note é")], asynchronous=False)
    assert [(part.offset, part.error) for part in committed] == [(6, None)]
    found = consumer.committed([position], PATIENCE_S)[0]
    assert (found.offset, found.metadata) == (6, "note é")
    consumer.close()
    consumer = clients.consumer(topic)
    consumer.subscribe([topic])
    assert values(take(consumer, 4)) == numbers(6, 10)
    # What was taken is committed by closing.
    consumer.close()
    assert clients.consumer(topic).committed([position], PATIENCE_S)[0].offset == 10


def test_a_subscription_by_pattern_finds_new_topics(clients, admin, name):
    create(admin, name + ".1")
    member = clients.member(name, [f"^{name}\\..*"], topic_metadata_refresh_interval_ms=200)
    member.has(1)
    create(admin, name + ".2")
    assert member.has(2) == {(name + ".1", 0), (name + ".2", 0)}


def test_new_partitions_are_found(clients, admin, topic):
    member = clients.member(topic, [topic], topic_metadata_refresh_interval_ms=200)
    member.has(1)
    done(admin.create_partitions([NewPartitions(topic, 3)]))
    member.has(3)
    send(clients.producer(), topic, [7], partition=2)
    assert member.values(1) == [7]


# ---- restarts


@pytest.mark.parametrize("verb", ["restart", "crash"])
def test_clients_go_on_after_the_broker_came_back(clients, admin, name, verb):
    create(admin, name, 2)
    producer = clients.producer(enable_idempotence=True)
    for partition in range(2):
        send(producer, name, range(partition * 50, partition * 50 + 50), partition=partition)
    member = clients.member(name, [name], enable_auto_commit=False)
    assert member.values(100) == list(range(100))
    member.commit()

    broker(verb)

    for partition in range(2):
        send(producer, name, range(100 + partition * 50, 150 + partition * 50), partition=partition)
    # Not one is missing, and none that was committed comes again.
    assert member.values(200) == list(range(200))
    member.commit()
    member.close()
    committed = clients.consumer(name).committed([TopicPartition(name, 0), TopicPartition(name, 1)], PATIENCE_S)
    assert [part.offset for part in committed] == [100, 100]
    assert len(to_the_end(clients.reader(name, enable_partition_eof=True))) == 100


@pytest.mark.parametrize("verb", ["restart", "crash"])
def test_a_new_member_resumes_from_the_commit(clients, topic, verb):
    send(clients.producer(), topic, range(20))
    consumer = clients.consumer(topic, enable_auto_commit=False, **SHORT_SESSION)
    consumer.subscribe([topic])
    consumer.commit(message=take(consumer, 12)[-1], asynchronous=False)
    consumer.close()

    broker(verb)

    consumer = clients.consumer(topic)
    consumer.subscribe([topic])
    assert values(take(consumer, 8)) == numbers(12, 20)


def test_an_idempotent_producer_does_not_double_over_crashes(clients, topic):
    producer = clients.producer(enable_idempotence=True, linger_ms=0, batch_num_messages=10)
    reports = []
    for number in range(3_000):
        producer.produce(topic, b"%d" % number, on_delivery=lambda error, _: reports.append(error))
        producer.poll(0)
        if number % 1_000 == 500:
            until(lambda: producer.poll(0) or len(reports) >= number - 400, "some are acknowledged")
            broker("crash")
    assert producer.flush(PATIENCE_S) == 0
    assert reports == [None] * 3_000
    assert values(to_the_end(clients.reader(topic, enable_partition_eof=True))) == numbers(3_000)


# ---- transactions


def committed_values(clients, topic):
    return values(to_the_end(clients.reader(topic, enable_partition_eof=True, isolation_level="read_committed")))


def all_values(clients, topic):
    return values(to_the_end(clients.reader(topic, enable_partition_eof=True, isolation_level="read_uncommitted")))


def test_committed_is_seen_and_aborted_is_not(clients, admin, name):
    create(admin, name)
    create(admin, name + ".2")
    producer = clients.producer(transactional_id=name)
    producer.init_transactions(PATIENCE_S)
    for attempt, end in enumerate([producer.commit_transaction, producer.abort_transaction] * 3):
        producer.begin_transaction()
        for topic in (name, name + ".2"):
            for number in range(10):
                producer.produce(topic, b"%d" % (attempt * 10 + number))
        producer.flush(PATIENCE_S)
        end(PATIENCE_S)
    wanted = numbers(0, 10) + numbers(20, 30) + numbers(40, 50)
    assert committed_values(clients, name) == committed_values(clients, name + ".2") == wanted
    assert all_values(clients, name) == numbers(60)


def test_an_open_transaction_holds_back_what_comes_after_it(clients, topic):
    producer = clients.producer(transactional_id=topic)
    producer.init_transactions(PATIENCE_S)
    producer.begin_transaction()
    producer.produce(topic, b"0")
    producer.flush(PATIENCE_S)
    send(clients.producer(), topic, [1])
    assert committed_values(clients, topic) == []
    assert all_values(clients, topic) == numbers(2)
    producer.commit_transaction(PATIENCE_S)
    assert committed_values(clients, topic) == numbers(2)


def test_consume_transform_produce(clients, admin, name):
    create(admin, name + ".in")
    create(admin, name + ".out")
    send(clients.producer(), name + ".in", range(30))
    consumer = clients.consumer(name, enable_auto_commit=False, isolation_level="read_committed")
    consumer.subscribe([name + ".in"])
    producer = clients.producer(transactional_id=name)
    producer.init_transactions(PATIENCE_S)
    for attempt, commits in enumerate([True, False, True, True]):
        producer.begin_transaction()
        messages = take(consumer, 10)
        for message in messages:
            producer.produce(name + ".out", b"%d" % (int(message.value()) * 2))
        producer.send_offsets_to_transaction(
            consumer.position(consumer.assignment()), consumer.consumer_group_metadata(), PATIENCE_S
        )
        if commits:
            producer.commit_transaction(PATIENCE_S)
        else:
            producer.abort_transaction(PATIENCE_S)
            for part in consumer.committed(consumer.assignment(), PATIENCE_S):
                consumer.seek(part)
    assert committed_values(clients, name + ".out") == [b"%d" % (number * 2) for number in range(30)]
    assert consumer.committed([TopicPartition(name + ".in", 0)], PATIENCE_S)[0].offset == 30


def test_an_older_producer_of_the_same_id_is_fenced(clients, topic):
    old = clients.producer(transactional_id=topic)
    old.init_transactions(PATIENCE_S)
    old.begin_transaction()
    old.produce(topic, b"of the old one")
    old.flush(PATIENCE_S)
    new = clients.producer(transactional_id=topic)
    new.init_transactions(PATIENCE_S)
    refused(KafkaError._FENCED, old.commit_transaction, PATIENCE_S)
    new.begin_transaction()
    new.produce(topic, b"of the new one")
    new.commit_transaction(PATIENCE_S)
    assert committed_values(clients, topic) == [b"of the new one"]


@pytest.mark.parametrize("verb", ["restart", "crash"])
@pytest.mark.parametrize("end", ["commit", "abort"])
def test_an_open_transaction_outlives_the_broker(clients, topic, verb, end):
    producer = clients.producer(transactional_id=topic)
    producer.init_transactions(PATIENCE_S)
    producer.begin_transaction()
    producer.produce(topic, b"0")
    producer.flush(PATIENCE_S)

    broker(verb)

    producer.produce(topic, b"1")
    getattr(producer, f"{end}_transaction")(PATIENCE_S)
    assert committed_values(clients, topic) == (numbers(2) if end == "commit" else [])
    # And its successor can go on.
    successor = clients.producer(transactional_id=topic)
    successor.init_transactions(PATIENCE_S)
    successor.begin_transaction()
    successor.produce(topic, b"2")
    successor.commit_transaction(PATIENCE_S)
    assert committed_values(clients, topic)[-1] == b"2"


# ---- admin


def test_topics_are_made_described_and_deleted(admin, name):
    create(admin, name, 3, retention_ms=3_600_000)
    found = done(admin.describe_topics(TopicCollection([name]), request_timeout=PATIENCE_S))
    assert (found.name, len(found.partitions)) == (name, 3)
    assert str(found.topic_id) != "AAAAAAAAAAAAAAAAAAAAAA"
    assert all(partition.leader is not None and len(partition.isr) == 1 for partition in found.partitions)
    refused(KafkaError.TOPIC_ALREADY_EXISTS, create, admin, name)
    done(admin.create_partitions([NewPartitions(name, 5)]))
    until(lambda: len(partitions_of(admin, name)) == 5, "five partitions")
    refused(KafkaError.INVALID_PARTITIONS, lambda: done(admin.create_partitions([NewPartitions(name, 2)])))
    done(admin.delete_topics([name]))
    until(lambda: not partitions_of(admin, name), "it is gone")
    refused(KafkaError.UNKNOWN_TOPIC_OR_PART, lambda: done(admin.delete_topics([name])))


def test_the_cluster_is_described(admin):
    cluster = admin.describe_cluster(request_timeout=PATIENCE_S).result(PATIENCE_S)
    assert cluster.cluster_id
    assert cluster.controller.id in [node.id for node in cluster.nodes]
    assert admin.list_topics(timeout=PATIENCE_S).cluster_id == cluster.cluster_id


def test_settings_are_changed_one_by_one(admin, topic):
    def set_(operation, key, value):
        entry = ConfigEntry(key, value, incremental_operation=operation)
        done(admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]))

    def settings():
        return done(admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))

    assert (settings()["cleanup.policy"].value, settings()["cleanup.policy"].is_default) == ("delete", True)
    set_(AlterConfigOpType.SET, "retention.ms", "60000")
    set_(AlterConfigOpType.APPEND, "cleanup.policy", "compact")
    until(lambda: sorted(settings()["cleanup.policy"].value.split(",")) == ["compact", "delete"], "appended")
    assert (settings()["retention.ms"].value, settings()["retention.ms"].is_default) == ("60000", False)
    set_(AlterConfigOpType.SUBTRACT, "cleanup.policy", "delete")
    until(lambda: settings()["cleanup.policy"].value == "compact", "subtracted")
    set_(AlterConfigOpType.DELETE, "retention.ms", None)
    until(lambda: settings()["retention.ms"].value == "604800000", "back at the default")


def test_records_are_deleted(clients, admin, topic):
    send(clients.producer(), topic, range(10))
    deleted = done(admin.delete_records([TopicPartition(topic, 0, 4)]))
    assert deleted.low_watermark == 4
    consumer = clients.reader(topic, offset=0, auto_offset_reset="earliest", enable_partition_eof=True)
    assert values(to_the_end(consumer)) == numbers(4, 10)
    assert consumer.get_watermark_offsets(TopicPartition(topic, 0), PATIENCE_S) == (4, 10)


def test_offsets_are_listed(clients, admin, topic):
    base = recently()
    for number, time in enumerate([100, 300, 200]):
        send(clients.producer(), topic, [number], timestamp=base + time)

    def at(spec):
        found = done(admin.list_offsets({TopicPartition(topic, 0): spec}, isolation_level=IsolationLevel.READ_COMMITTED))
        return found.offset

    assert (at(OffsetSpec.earliest()), at(OffsetSpec.latest())) == (0, 3)
    assert (at(OffsetSpec.for_timestamp(base + 150)), at(OffsetSpec.max_timestamp())) == (1, 1)


def test_groups_are_listed_described_reset_and_deleted(clients, admin, topic):
    send(clients.producer(), topic, range(10))
    member = clients.member(topic, [topic], client_id="one of us")
    member.values(10)
    listed = {group.group_id: group for group in admin.list_consumer_groups().result(PATIENCE_S).valid}
    assert listed[topic].state.name == "STABLE"
    described = done(admin.describe_consumer_groups([topic]))
    assert (described.state.name, described.partition_assignor) == ("STABLE", "range")
    (seen,) = described.members
    assert seen.client_id == "one of us" and seen.member_id.startswith("one of us-")
    assert [(p.topic, p.partition) for p in seen.assignment.topic_partitions] == [(topic, 0)]
    # One that is in use is neither reset nor deleted.
    to = [ConsumerGroupTopicPartitions(topic, [TopicPartition(topic, 0, 3)])]
    refused(KafkaError.UNKNOWN_MEMBER_ID, lambda: offset_error(admin.alter_consumer_group_offsets(to)))
    refused(KafkaError.NON_EMPTY_GROUP, lambda: done(admin.delete_consumer_groups([topic])))
    member.close()
    offset_error(admin.alter_consumer_group_offsets(to))
    found = done(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(topic)]))
    assert [(p.topic, p.partition, p.offset) for p in found.topic_partitions] == [(topic, 0, 3)]
    consumer = clients.consumer(topic)
    consumer.subscribe([topic])
    assert values(take(consumer, 7)) == numbers(3, 10)
    consumer.close()
    done(admin.delete_consumer_groups([topic]))
    assert topic not in {group.group_id for group in admin.list_consumer_groups().result(PATIENCE_S).valid}


def offset_error(futures):
    """Raises the first error of a partition, as confluent-kafka does not."""
    from confluent_kafka import KafkaException

    for part in done(futures).topic_partitions:
        if part.error is not None:
            raise KafkaException(part.error)


# ---- login


def test_sasl_plain(clients, topic):
    login = {"bootstrap.servers": SASL_BOOTSTRAP, "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}
    guest = login | {"sasl.username": "guest", "sasl.password": "guest"}
    send(clients.producer(**guest), topic, range(10))
    assert values(take(clients.reader(topic, **guest), 10)) == numbers(10)
    problems = []
    wrong = clients.producer(**login | {"sasl.username": "guest", "sasl.password": "no", "error_cb": problems.append})
    until(lambda: wrong.poll(0.05) or problems, "an error")
    until(lambda: wrong.poll(0.05) or KafkaError._AUTHENTICATION in {p.code() for p in problems}, "that it is refused")

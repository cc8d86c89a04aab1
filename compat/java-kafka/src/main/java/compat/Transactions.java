package compat;

import static compat.Suite.equal;
import static compat.Suite.until;
import static compat.World.broker;
import static compat.World.numbers;
import static compat.World.send;
import static compat.World.take;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;

import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.InvalidProducerEpochException;
import org.apache.kafka.common.errors.InvalidTxnStateException;
import org.apache.kafka.common.errors.ProducerFencedException;

/** Exactly once. */
final class Transactions {
    private Transactions() {}

    static void add() {
        Suite.TESTS.put("committed is seen and aborted is not", Transactions::commitAndAbort);
        Suite.TESTS.put("consume, transform, produce", Transactions::transform);
        Suite.TESTS.put("an older producer of the same id is fenced", Transactions::fenced);
        Suite.TESTS.put("a transaction that takes too long is aborted", Transactions::timesOut);
        Suite.TESTS.put("an open transaction outlives a restart", world -> outlives(world, "restart"));
        Suite.TESTS.put("an open transaction outlives a crash", world -> outlives(world, "crash"));
    }

    static void commitAndAbort(World world) throws Exception {
        var topic = world.topic("transactions", 1);
        var producer = world.producer("transactional.id", topic);
        producer.initTransactions();
        var wanted = new ArrayList<String>();
        for (var attempt = 0; attempt < 6; attempt++) {
            var values = numbers(attempt * 10, attempt * 10 + 10);
            producer.beginTransaction();
            send(producer, topic, 0, values);
            if (attempt % 2 == 0) {
                producer.commitTransaction();
                wanted.addAll(values);
            } else {
                producer.abortTransaction();
            }
        }
        equal(world.all(topic, "read_committed"), wanted);
        equal(world.all(topic, "read_uncommitted"), numbers(0, 60));
        // What is open hides itself and what comes after it.
        producer.beginTransaction();
        send(producer, topic, 0, List.of("60"));
        send(world.producer(), topic, 0, List.of("61"));
        equal(world.all(topic, "read_committed"), wanted);
        producer.commitTransaction();
        wanted.addAll(List.of("60", "61"));
        equal(world.all(topic, "read_committed"), wanted);
    }

    static void transform(World world) throws Exception {
        String in = world.topic("in", 1), out = world.topic("out", 1);
        var part = new TopicPartition(in, 0);
        send(world.producer(), in, 0, numbers(0, 30));
        var consumer = world.consumer("group.id", in, "enable.auto.commit", false, "max.poll.records", 10);
        consumer.subscribe(List.of(in));
        var producer = world.producer("transactional.id", in);
        producer.initTransactions();
        for (var commits : List.of(true, false, true, true)) {
            var records = take(consumer, 10);
            producer.beginTransaction();
            send(producer, out, 0, records.stream().map(each -> String.valueOf(Integer.parseInt(each.value()) * 2)).toList());
            var next = records.get(records.size() - 1).offset() + 1;
            producer.sendOffsetsToTransaction(Map.of(part, new OffsetAndMetadata(next)), consumer.groupMetadata());
            if (commits) {
                producer.commitTransaction();
            } else {
                producer.abortTransaction();
                consumer.seek(part, consumer.committed(Set.of(part)).get(part).offset());
            }
        }
        equal(world.all(out, "read_committed"), numbers(0, 30).stream().map(each -> String.valueOf(Integer.parseInt(each) * 2)).toList());
        equal(consumer.committed(Set.of(part)).get(part).offset(), 30L);
    }

    static void fenced(World world) throws Exception {
        var topic = world.topic("fenced", 1);
        var old = world.producer("transactional.id", topic);
        old.initTransactions();
        old.beginTransaction();
        send(old, topic, 0, List.of("old"));
        var latest = world.producer("transactional.id", topic);
        latest.initTransactions();
        try {
            old.commitTransaction();
            throw new AssertionError("not fenced");
        } catch (ProducerFencedException | InvalidProducerEpochException expected) {
            // As it should be.
        }
        latest.beginTransaction();
        send(latest, topic, 0, List.of("new"));
        latest.commitTransaction();
        equal(world.all(topic, "read_committed"), List.of("new"));
    }

    static void timesOut(World world) throws Exception {
        var topic = world.topic("late", 1);
        var producer = world.producer("transactional.id", topic, "transaction.timeout.ms", 1_000);
        producer.initTransactions();
        producer.beginTransaction();
        send(producer, topic, 0, List.of("late"));
        send(world.producer(), topic, 0, List.of("after"));
        until("it is aborted", () -> world.all(topic, "read_committed").equals(List.of("after")));
        try {
            producer.commitTransaction();
            throw new AssertionError("committed");
        } catch (ProducerFencedException | InvalidProducerEpochException | InvalidTxnStateException expected) {
            // As it should be.
        }
    }

    static void outlives(World world, String verb) throws Exception {
        var topic = world.topic(verb, 1);
        var producer = world.producer("transactional.id", topic);
        producer.initTransactions();
        var wanted = new ArrayList<String>();
        var number = 0;
        for (var commits : List.of(true, false)) {
            var values = numbers(number, number + 2);
            producer.beginTransaction();
            send(producer, topic, 0, values.subList(0, 1));
            broker(verb);
            send(producer, topic, 0, values.subList(1, 2));
            if (commits) {
                producer.commitTransaction();
                wanted.addAll(values);
            } else {
                producer.abortTransaction();
            }
            number += 2;
        }
        equal(world.all(topic, "read_committed"), wanted);
        equal(world.all(topic, "read_uncommitted"), numbers(0, 4));
    }
}

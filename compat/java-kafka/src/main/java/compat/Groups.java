package compat;

import static compat.Suite.check;
import static compat.Suite.equal;
import static compat.Suite.until;
import static compat.World.broker;
import static compat.World.numbers;
import static compat.World.send;
import static compat.World.take;
import static compat.World.values;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;

import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.common.TopicPartition;

/** Members that come and go, commits, restarts. */
final class Groups {
    private Groups() {}

    static void add() {
        for (var kind : List.of(
            RangeAssignor.class, RoundRobinAssignor.class, StickyAssignor.class, CooperativeStickyAssignor.class)) {
            Suite.TESTS.put("a group rebalances: " + kind.getSimpleName(), world -> rebalances(world, kind.getName()));
        }
        Suite.TESTS.put("a static member comes back without a rebalance", Groups::staticMember);
        Suite.TESTS.put("commits are where the next member begins", Groups::commits);
        Suite.TESTS.put("clients go on after a restart", world -> goesOn(world, "restart"));
        Suite.TESTS.put("clients go on after a crash", world -> goesOn(world, "crash"));
    }

    static void rebalances(World world, String assignor) throws Exception {
        var topic = world.topic("rebalance", 4);
        var producer = world.producer();
        var first = world.member(topic, topic, "partition.assignment.strategy", assignor);
        first.has(4);
        var second = world.member(topic, topic, "partition.assignment.strategy", assignor);
        until("two each", () -> first.assigned.size() == 2 && second.assigned.size() == 2);
        for (var partition = 0; partition < 4; partition++) {
            send(producer, topic, partition, numbers(partition * 5, partition * 5 + 5));
        }
        until("all records", () -> first.seen.size() + second.seen.size() == 20);
        var all = new ArrayList<>(first.got(10));
        all.addAll(second.got(10));
        all.sort((a, b) -> Integer.compare(Integer.parseInt(a), Integer.parseInt(b)));
        equal(all, numbers(0, 20));
        second.close();
        first.has(4);
        for (var partition = 0; partition < 4; partition++) {
            send(producer, topic, partition, numbers(20 + partition, 21 + partition));
        }
        until("what came after it", () -> first.seen.containsAll(numbers(20, 24)));
    }

    static void staticMember(World world) throws Exception {
        var topic = world.topic("static", 2);
        var first = world.member(topic, topic, "group.instance.id", "one");
        first.has(2);
        var second = world.member(topic, topic, "group.instance.id", "two");
        until("one each", () -> first.assigned.size() == 1 && second.assigned.size() == 1);
        var generation = first.ask(consumer -> consumer.groupMetadata().generationId());
        var owned = Set.copyOf(second.assigned);
        // Closing a static member does not leave the group.
        second.close();
        var third = world.member(topic, topic, "group.instance.id", "two");
        third.has(1);
        equal(Set.copyOf(third.assigned), owned);
        equal(third.ask(consumer -> consumer.groupMetadata().generationId()), generation);
        equal(first.assigned.size(), 1);
    }

    static void commits(World world) throws Exception {
        var topic = world.topic("commits", 1);
        var part = new TopicPartition(topic, 0);
        send(world.producer(), topic, 0, numbers(0, 10));
        try (var consumer = world.consumer("group.id", topic, "enable.auto.commit", false)) {
            consumer.subscribe(List.of(topic));
            take(consumer, 10);
            var position = new OffsetAndMetadata(6, java.util.Optional.of(0), "note é");
            consumer.commitSync(Map.of(part, position));
            var found = consumer.committed(Set.of(part)).get(part);
            equal(found, position);
        }
        try (var consumer = world.consumer("group.id", topic)) {
            consumer.subscribe(List.of(topic));
            equal(values(take(consumer, 4)), numbers(6, 10));
        }
        // What was taken is committed by closing.
        equal(world.consumer("group.id", topic).committed(Set.of(part)).get(part).offset(), 10L);
    }

    static void goesOn(World world, String verb) throws Exception {
        var topic = world.topic(verb, 2);
        var producer = world.producer();
        send(producer, topic, 0, numbers(0, 50));
        send(producer, topic, 1, numbers(50, 100));
        var member = world.member(topic, topic, "enable.auto.commit", false);
        equal(member.got(100), numbers(0, 100));
        member.commit();

        broker(verb);

        send(producer, topic, 0, numbers(100, 150));
        send(producer, topic, 1, numbers(150, 200));
        // Not one is missing, and none that was committed comes again.
        equal(member.got(200), numbers(0, 200));
        member.commit();
        member.close();
        var parts = Set.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1));
        var committed = world.consumer("group.id", topic).committed(parts).values();
        check(committed.stream().allMatch(each -> each.offset() == 100), "committed " + committed);
    }
}

package compat;

import static compat.Suite.check;
import static compat.Suite.equal;
import static compat.Suite.until;
import static compat.World.done;
import static compat.World.numbers;
import static compat.World.send;
import static compat.World.take;
import static compat.World.values;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutionException;

import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.TopicExistsException;

/** The admin client. */
final class Administration {
    private Administration() {}

    static void add() {
        Suite.TESTS.put("admin: the cluster is described", Administration::cluster);
        Suite.TESTS.put("admin: topics, partitions, records", Administration::topics);
        Suite.TESTS.put("admin: settings, one by one", Administration::settings);
        Suite.TESTS.put("admin: groups and their offsets", Administration::groups);
        Suite.TESTS.put("admin: open transactions are described", Administration::transactions);
    }

    static void cluster(World world) throws Exception {
        var cluster = world.admin.describeCluster();
        check(!done(cluster.clusterId()).isEmpty(), "a cluster id");
        check(done(cluster.nodes()).contains(done(cluster.controller())), "the controller is a node");
        var features = done(world.admin.describeFeatures().featureMetadata()).finalizedFeatures();
        check(features != null, "features " + features);
        var broker = new ConfigResource(ConfigResource.Type.BROKER, done(cluster.controller()).idString());
        var settings = done(world.admin.describeConfigs(List.of(broker)).all()).get(broker);
        for (var name : List.of("num.partitions", "default.replication.factor", "auto.create.topics.enable", "log.retention.ms")) {
            check(settings.get(name) != null, name);
        }
        check(done(world.admin.listPartitionReassignments().reassignments()).isEmpty(), "no reassignments");
    }

    static void topics(World world) throws Exception {
        var admin = world.admin;
        var topic = world.topic("admin", 2);
        var found = done(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
        equal(found.partitions().size(), 2);
        equal(done(admin.describeTopics(org.apache.kafka.common.TopicCollection.ofTopicIds(List.of(found.topicId())))
            .allTopicIds()).get(found.topicId()).name(), topic);
        fails(TopicExistsException.class, () -> done(admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all()));
        var made = admin.createTopics(
            List.of(new NewTopic(topic + ".not", 3, (short) 1)), new org.apache.kafka.clients.admin.CreateTopicsOptions().validateOnly(true));
        equal(done(made.numPartitions(topic + ".not")), 3);
        check(done(made.config(topic + ".not")).get("cleanup.policy") != null, "settings of what would be made");
        done(admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all());
        until("three partitions", () -> done(admin.describeTopics(List.of(topic)).allTopicNames()).get(topic).partitions().size() == 3);
        check(!done(admin.listTopics().names()).contains(topic + ".not"), "validated only");
        send(world.producer(), topic, 1, numbers(0, 10));
        var part = new TopicPartition(topic, 1);
        var deleted = admin.deleteRecords(Map.of(part, RecordsToDelete.beforeOffset(4))).lowWatermarks().get(part);
        equal(done(deleted).lowWatermark(), 4L);
        for (var each : Map.of(OffsetSpec.earliest(), 4L, OffsetSpec.latest(), 10L).entrySet()) {
            equal(done(admin.listOffsets(Map.of(part, each.getKey())).partitionResult(part)).offset(), each.getValue());
        }
        equal(done(admin.describeLogDirs(List.of(1)).allDescriptions()).size(), 1);
        done(admin.deleteTopics(List.of(topic)).all());
        until("it is gone", () -> !done(admin.listTopics().names()).contains(topic));
    }

    static void settings(World world) throws Exception {
        var topic = world.topic("settings", 1, Map.of("max.message.bytes", "100000"));
        var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        equal(setting(world, resource, "retention.ms").value(), "604800000");
        equal(setting(world, resource, "max.message.bytes").source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG);
        for (var change : List.of(
            new String[] {"SET", "retention.ms", "60000"}, new String[] {"APPEND", "cleanup.policy", "compact"},
            new String[] {"SUBTRACT", "cleanup.policy", "delete"}, new String[] {"DELETE", "max.message.bytes", ""})) {
            var operation = new AlterConfigOp(new ConfigEntry(change[1], change[2]), AlterConfigOp.OpType.valueOf(change[0]));
            done(world.admin.incrementalAlterConfigs(Map.of(resource, List.of(operation))).all());
        }
        until("all is changed", () -> !setting(world, resource, "max.message.bytes").value().equals("100000"));
        equal(setting(world, resource, "retention.ms").value(), "60000");
        equal(setting(world, resource, "cleanup.policy").value(), "compact");
    }

    private static ConfigEntry setting(World world, ConfigResource resource, String name) throws Exception {
        return done(world.admin.describeConfigs(List.of(resource)).all()).get(resource).get(name);
    }

    @SuppressWarnings("removal")
    static void groups(World world) throws Exception {
        var admin = world.admin;
        var topic = world.topic("groups", 1);
        var part = new TopicPartition(topic, 0);
        send(world.producer(), topic, 0, numbers(0, 10));
        var member = world.member(topic, topic, "client.id", "one-of-us");
        member.got(10);
        check(done(admin.listConsumerGroups().all()).stream().anyMatch(each -> each.groupId().equals(topic)), "listed");
        var group = done(admin.describeConsumerGroups(List.of(topic)).all()).get(topic);
        equal(group.partitionAssignor(), "range");
        var seen = group.members().iterator().next();
        equal(List.of(seen.clientId(), seen.assignment().topicPartitions()), List.of("one-of-us", Set.of(part)));
        fails(GroupNotEmptyException.class, () -> done(admin.deleteConsumerGroups(List.of(topic)).all()));
        member.close();
        done(admin.alterConsumerGroupOffsets(topic, Map.of(part, new OffsetAndMetadata(3))).all());
        equal(done(admin.listConsumerGroupOffsets(Map.of(topic, new ListConsumerGroupOffsetsSpec())).all()).get(topic).get(part).offset(), 3L);
        try (var consumer = world.consumer("group.id", topic)) {
            consumer.subscribe(List.of(topic));
            equal(values(take(consumer, 7)), numbers(3, 10));
        }
        done(admin.deleteConsumerGroupOffsets(topic, Set.of(part)).all());
        check(done(admin.listConsumerGroupOffsets(topic).partitionsToOffsetAndMetadata()).get(part) == null, "the offset is gone");
        done(admin.deleteConsumerGroups(List.of(topic)).all());
        check(done(admin.listConsumerGroups().all()).stream().noneMatch(each -> each.groupId().equals(topic)), "it is gone");
    }

    static void transactions(World world) throws Exception {
        var topic = world.topic("open", 1);
        var part = new TopicPartition(topic, 0);
        var producer = world.producer("transactional.id", topic);
        producer.initTransactions();
        producer.beginTransaction();
        send(producer, topic, 0, List.of("1"));
        var found = done(world.admin.describeTransactions(List.of(topic)).all()).get(topic);
        equal(List.of(found.state().toString(), found.topicPartitions()), List.of("Ongoing", Set.of(part)));
        check(done(world.admin.listTransactions().all()).stream().anyMatch(each -> each.transactionalId().equals(topic)), "listed");
        var active = done(world.admin.describeProducers(List.of(part)).partitionResult(part)).activeProducers();
        equal(active.get(0).producerId(), found.producerId());
        equal(active.get(0).currentTransactionStartOffset().getAsLong(), 0L);
        // The way out for those who must end the transaction of another.
        done(world.admin.fenceProducers(List.of(topic)).all());
        until("it is aborted", () -> world.all(topic, "read_committed").isEmpty()
            && done(world.admin.describeTransactions(List.of(topic)).all()).get(topic).topicPartitions().isEmpty());
    }

    private static void fails(Class<? extends Exception> with, Suite.Condition action) throws Exception {
        try {
            action.holds();
            throw new AssertionError("did not fail");
        } catch (ExecutionException problem) {
            check(with.isInstance(problem.getCause()), "failed with " + problem.getCause());
        }
    }

    private static void fails(Class<? extends Exception> with, Action action) throws Exception {
        fails(with, () -> {
            action.run();
            return true;
        });
    }

    private interface Action {
        void run() throws Exception;
    }
}

package compat;

import static compat.Suite.check;
import static compat.Suite.equal;
import static compat.Suite.until;
import static compat.World.done;
import static compat.World.numbers;
import static compat.World.send;
import static compat.World.take;
import static compat.World.values;

import java.time.Duration;
import java.util.List;
import java.util.Map;

import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.internals.RecordHeaders;

/** Producing and consuming. */
final class Records {
    private Records() {}

    static void add() {
        Suite.TESTS.put("a record comes back as it was", Records::roundTrip);
        Suite.TESTS.put("every compression", Records::compression);
        Suite.TESTS.put("acks 0, 1 and all", Records::acks);
        Suite.TESTS.put("an idempotent producer keeps order with many requests in flight", Records::idempotent);
        Suite.TESTS.put("offsets and times", Records::offsets);
        Suite.TESTS.put("pitfall 3: an incremental fetch that finds nothing waits", Records::waits);
        Suite.TESTS.put("pitfall 4: a fetch session forgets what is paused", Records::forgets);
        Suite.TESTS.put("pitfall 19: a producer goes on with a topic that was made anew", Records::madeAnew);
        Suite.TESTS.put("SASL PLAIN", Records::login);
    }

    static void roundTrip(World world) throws Exception {
        var topic = world.topic("record", 1);
        var time = System.currentTimeMillis() - 60_000;
        var headers = new RecordHeaders().add("a", new byte[] {1}).add("a", new byte[0]).add("null", null);
        var producer = world.producer();
        var sent = done(producer.send(new ProducerRecord<>(topic, 0, time, "key", "value", headers)));
        done(producer.send(new ProducerRecord<>(topic, 0, "tombstone", null)));
        equal(sent.offset(), 0L);
        var got = take(world.reader(topic), 2);
        equal(got.get(0).key() + got.get(0).value() + got.get(0).timestamp(), "keyvalue" + time);
        equal(got.get(0).headers(), headers);
        equal(got.get(1).value(), null);
        equal(got.get(1).offset(), 1L);
    }

    static void compression(World world) throws Exception {
        for (var codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            var topic = world.topic(codec, 1);
            send(world.producer("compression.type", codec, "linger.ms", 20), topic, 0, numbers(0, 1_000));
            equal(values(take(world.reader(topic), 1_000)), numbers(0, 1_000));
        }
    }

    static void acks(World world) throws Exception {
        var topic = world.topic("acks", 1);
        var from = 0;
        for (var acks : List.of("0", "1", "all")) {
            send(world.producer("acks", acks, "enable.idempotence", false), topic, 0, numbers(from, from + 100));
            from += 100;
        }
        equal(values(take(world.reader(topic), 300)).size(), 300);
    }

    static void idempotent(World world) throws Exception {
        var topic = world.topic("idempotent", 1);
        send(world.producer("batch.size", 256, "linger.ms", 0), topic, 0, numbers(0, 3_000));
        equal(values(take(world.reader(topic), 3_000)), numbers(0, 3_000));
    }

    static void offsets(World world) throws Exception {
        var topic = world.topic("times", 1);
        var part = new TopicPartition(topic, 0);
        var base = System.currentTimeMillis() - 60_000;
        var producer = world.producer();
        for (var number = 0; number < 10; number++) {
            done(producer.send(new ProducerRecord<>(topic, 0, base + number * 10, null, String.valueOf(number))));
        }
        var consumer = world.reader(topic);
        equal(consumer.beginningOffsets(List.of(part)).get(part), 0L);
        equal(consumer.endOffsets(List.of(part)).get(part), 10L);
        OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(part, base + 41)).get(part);
        equal(List.of(found.offset(), found.timestamp()), List.of(5L, base + 50));
        equal(consumer.offsetsForTimes(Map.of(part, base + 91)).get(part), null);
        consumer.seek(part, 7);
        equal(values(take(consumer, 3)), numbers(7, 10));
        equal(consumer.currentLag(part).getAsLong(), 0L);
    }

    /** Five fetches of half a second each cannot be over in one second, however slow the machine is. */
    static void waits(World world) throws Exception {
        String topic = world.topic("waits", 2), other = world.topic("waits-too", 1);
        var consumer = world.consumer("fetch.max.wait.ms", 500);
        consumer.assign(List.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1), new TopicPartition(other, 0)));
        send(world.producer(), topic, 1, numbers(0, 1));
        take(consumer, 1);
        double first = fetches(consumer);
        var began = System.nanoTime();
        while (fetches(consumer) < first + 5) {
            consumer.poll(Duration.ofMillis(50));
        }
        check(System.nanoTime() - began > 1_000_000_000L, "fetches do not wait");
    }

    private static double fetches(KafkaConsumer<?, ?> consumer) {
        return consumer.metrics().values().stream()
            .filter(each -> each.metricName().name().equals("fetch-total") && each.metricName().group().equals("consumer-fetch-manager-metrics"))
            .mapToDouble(each -> (Double) each.metricValue()).sum();
    }

    static void forgets(World world) throws Exception {
        String topic = world.topic("heard", 1), other = world.topic("paused", 1);
        TopicPartition part = new TopicPartition(topic, 0), paused = new TopicPartition(other, 0);
        var producer = world.producer();
        var consumer = world.consumer("fetch.max.wait.ms", 100);
        consumer.assign(List.of(part, paused));
        for (var round = 0; round < 10; round++) {
            send(producer, other, 0, numbers(round, round + 1));
            equal(values(take(consumer, 1)), numbers(round, round + 1));
            consumer.pause(List.of(paused));
            send(producer, other, 0, List.of("not now"));
            send(producer, topic, 0, numbers(round, round + 1));
            equal(values(take(consumer, 1)), numbers(round, round + 1));
            consumer.resume(List.of(paused));
            equal(values(take(consumer, 1)), List.of("not now"));
        }
    }

    static void madeAnew(World world) throws Exception {
        var topic = world.topic("anew", 1);
        var producer = world.producer();
        send(producer, topic, 0, numbers(0, 10));
        done(world.admin.deleteTopics(List.of(topic)).all());
        until("it is gone", () -> !done(world.admin.listTopics().names()).contains(topic));
        done(world.admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all());
        send(producer, topic, 0, numbers(10, 20));
        equal(values(take(world.reader(topic), 10)), numbers(10, 20));
    }

    static void login(World world) throws Exception {
        var topic = world.topic("sasl", 1);
        var login = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"guest\" password=\"%s\";";
        Object[] guest = {
            "bootstrap.servers", System.getenv("KAFKA_SASL_BOOTSTRAP"), "security.protocol", "SASL_PLAINTEXT",
            "sasl.mechanism", "PLAIN", "sasl.jaas.config", login.formatted("guest"),
        };
        send(world.producer(guest), topic, 0, numbers(0, 3));
        equal(values(take(world.reader(topic, guest), 3)), numbers(0, 3));
        guest[7] = login.formatted("no");
        try {
            world.producer(guest).partitionsFor(topic);
            throw new AssertionError("let in");
        } catch (org.apache.kafka.common.errors.SaslAuthenticationException expected) {
            // As it should be.
        }
    }
}

package compat;

import static compat.Suite.equal;
import static compat.World.done;
import static compat.World.numbers;
import static compat.World.send;
import static compat.World.take;
import static compat.World.values;

import java.util.List;
import java.util.Map;

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

package compat;

import static compat.Suite.PATIENCE_S;
import static compat.Suite.check;
import static compat.Suite.until;

import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.UUID;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** What one test uses: clients that are closed when it is over. */
final class World implements AutoCloseable {
    static final String BOOTSTRAP = System.getenv().getOrDefault("KAFKA_BOOTSTRAP", "localhost:9092");

    private final Deque<AutoCloseable> open = new ArrayDeque<>();
    final Admin admin = keep(Admin.create(settings()));

    <T extends AutoCloseable> T keep(T client) {
        open.push(client);
        return client;
    }

    @Override
    public void close() throws Exception {
        for (var each : open) {
            each.close();
        }
    }

    /** The clients as they are, but for their pauses; more settings as key, value, key, value. */
    static Map<String, Object> settings(Object... more) {
        var settings = new HashMap<String, Object>();
        settings.put("bootstrap.servers", BOOTSTRAP);
        settings.put("reconnect.backoff.max.ms", 200);
        for (var index = 0; index < more.length; index += 2) {
            settings.put((String) more[index], more[index + 1]);
        }
        return settings;
    }

    KafkaProducer<String, String> producer(Object... more) {
        return keep(new KafkaProducer<>(settings(more), new StringSerializer(), new StringSerializer()));
    }

    KafkaConsumer<String, String> consumer(Object... more) {
        var settings = settings("auto.offset.reset", "earliest", "heartbeat.interval.ms", 200);
        settings.putAll(settings(more));
        return keep(new KafkaConsumer<>(settings, new StringDeserializer(), new StringDeserializer()));
    }

    /** A consumer without a group, at the beginning of partition 0. */
    KafkaConsumer<String, String> reader(String topic, Object... more) {
        var consumer = consumer(more);
        consumer.assign(List.of(new TopicPartition(topic, 0)));
        consumer.seekToBeginning(List.of());
        return consumer;
    }

    Member member(String group, String topic, Object... more) {
        var settings = new ArrayList<Object>(List.of("group.id", group));
        settings.addAll(List.of(more));
        // It is closed by its own thread.
        var member = new Member(consumer(settings.toArray()), topic);
        open.pop();
        return keep(member);
    }

    static String unique(String name) {
        return "java." + name + "." + UUID.randomUUID().toString().substring(0, 8);
    }

    String topic(String name, int partitions, Map<String, String> settings) throws Exception {
        var topic = unique(name);
        done(admin.createTopics(List.of(new NewTopic(topic, Optional.of(partitions), Optional.empty()).configs(settings))).all());
        // In Kafka the controller knows it a little earlier than the broker that clients ask.
        until(topic + " is there", () -> done(admin.listTopics().names()).contains(topic));
        return topic;
    }

    String topic(String name, int partitions) throws Exception {
        return topic(name, partitions, Map.of());
    }

    static <T> T done(Future<T> future) throws Exception {
        return future.get(PATIENCE_S, TimeUnit.SECONDS);
    }

    /** The numbers from one to before another, as values. */
    static List<String> numbers(int from, int to) {
        return IntStream.range(from, to).mapToObj(String::valueOf).toList();
    }

    /** Produces the values to a partition and waits for every answer. */
    static List<RecordMetadata> send(KafkaProducer<String, String> producer, String topic, int partition, List<String> values)
        throws Exception {
        var futures = new ArrayList<Future<RecordMetadata>>();
        for (var value : values) {
            futures.add(producer.send(new ProducerRecord<>(topic, partition, null, value)));
        }
        producer.flush();
        var sent = new ArrayList<RecordMetadata>();
        for (var future : futures) {
            sent.add(done(future));
        }
        return sent;
    }

    /** The next records, as many as are wanted. */
    static List<ConsumerRecord<String, String>> take(KafkaConsumer<String, String> consumer, int count) {
        var records = new ArrayList<ConsumerRecord<String, String>>();
        var end = System.nanoTime() + PATIENCE_S * 1_000_000_000L;
        while (records.size() < count) {
            check(System.nanoTime() < end, records.size() + " of " + count + " records came");
            consumer.poll(Duration.ofMillis(100)).forEach(records::add);
        }
        return records;
    }

    static List<String> values(List<ConsumerRecord<String, String>> records) {
        return records.stream().map(ConsumerRecord::value).toList();
    }

    /** All values up to where partition 0 ends for this kind of consumer. */
    List<String> all(String topic, String isolation) {
        try (var consumer = reader(topic, "isolation.level", isolation)) {
            var part = new TopicPartition(topic, 0);
            long last = consumer.endOffsets(List.of(part)).get(part);
            var values = new ArrayList<String>();
            var end = System.nanoTime() + PATIENCE_S * 1_000_000_000L;
            while (consumer.position(part) < last) {
                check(System.nanoTime() < end, "at " + consumer.position(part) + " of " + last);
                consumer.poll(Duration.ofMillis(100)).forEach(record -> values.add(record.value()));
            }
            return values;
        }
    }

    /** Asks the runner to do that to the broker, and waits until it is done. */
    static void broker(String verb) throws Exception {
        var process = new ProcessBuilder(System.getenv("COMPAT_TOOL"), verb).inheritIO().start();
        check(process.waitFor(150, TimeUnit.SECONDS) && process.exitValue() == 0, "broker " + verb);
    }
}

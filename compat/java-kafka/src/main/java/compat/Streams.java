package compat;

import static compat.Suite.equal;
import static compat.Suite.until;
import static compat.World.broker;
import static compat.World.send;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;

import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Produced;

/** A word count that is exact whatever happens to the broker and to the program that counts. */
final class Streams {
    private static final List<String> LINES = List.of("the quick brown fox", "jumps over the lazy dog", "the end");

    private Streams() {}

    static void add() {
        Suite.TESTS.put("streams: a word count with exactly-once", Streams::wordCount);
    }

    static void wordCount(World world) throws Exception {
        String in = world.topic("lines", 2), out = world.topic("words", 1);
        var producer = world.producer();
        var wanted = new TreeMap<String, Long>();
        var state = Files.createTempDirectory("compat-streams");
        try (var counting = counting(in, out, state)) {
            counting.start();
            say(producer, in, wanted);
            until("counted", () -> counted(world, out).equals(wanted));
            broker("crash");
            say(producer, in, wanted);
            until("counted after a crash", () -> counted(world, out).equals(wanted));
            // Else the next one would wait until the broker gives this one up.
            counting.close(new KafkaStreams.CloseOptions().leaveGroup(true));
        }
        // One that knows nothing begins where the other stood: its state is in the broker.
        var elsewhere = Files.createTempDirectory("compat-streams");
        try (var counting = counting(in, out, elsewhere)) {
            counting.start();
            say(producer, in, wanted);
            until("counted by another", () -> counted(world, out).equals(wanted));
        }
        for (var directory : List.of(state, elsewhere)) {
            try (var files = Files.walk(directory)) {
                files.sorted(java.util.Comparator.reverseOrder()).forEach(each -> each.toFile().delete());
            }
        }
    }

    private static KafkaStreams counting(String in, String out, Path state) {
        var settings = new Properties();
        settings.putAll(World.settings(
            "application.id", in, "processing.guarantee", "exactly_once_v2", "state.dir", state.toString(),
            "commit.interval.ms", 100, "num.stream.threads", 1, "consumer.heartbeat.interval.ms", 200,
            // In 3.9 only a static member leaves its group when it is told to.
            "group.instance.id", "one",
            "consumer.auto.offset.reset", "earliest"));
        var builder = new StreamsBuilder();
        builder.stream(in, Consumed.with(Serdes.String(), Serdes.String()))
            .flatMapValues(line -> Arrays.asList(line.split(" ")))
            .groupBy((key, word) -> word, Grouped.with(Serdes.String(), Serdes.String()))
            .count()
            .toStream()
            .mapValues(String::valueOf)
            .to(out, Produced.with(Serdes.String(), Serdes.String()));
        return new KafkaStreams(builder.build(), settings);
    }

    private static void say(org.apache.kafka.clients.producer.KafkaProducer<String, String> producer, String topic, Map<String, Long> wanted)
        throws Exception {
        for (var round = 0; round < 20; round++) {
            send(producer, topic, round % 2, LINES);
            LINES.forEach(line -> Arrays.stream(line.split(" ")).forEach(word -> wanted.merge(word, 1L, Long::sum)));
        }
    }

    /** The last count of each word; each count must be one that was never there before. */
    private static Map<String, Long> counted(World world, String topic) {
        var counts = new TreeMap<String, Long>();
        try (var consumer = world.reader(topic, "isolation.level", "read_committed")) {
            var part = new TopicPartition(topic, 0);
            long end = consumer.endOffsets(List.of(part)).get(part);
            var all = new ArrayList<String>();
            while (consumer.position(part) < end) {
                consumer.poll(Duration.ofMillis(100)).forEach(record -> {
                    all.add(record.key() + " " + record.value());
                    counts.put(record.key(), Long.parseLong(record.value()));
                });
            }
            equal(all.size(), (int) all.stream().distinct().count());
        }
        return counts;
    }
}

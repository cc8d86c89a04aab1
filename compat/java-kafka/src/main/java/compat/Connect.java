package compat;

import static compat.Suite.check;
import static compat.Suite.equal;
import static compat.World.broker;
import static compat.World.numbers;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** A standalone worker of Connect in a program of its own: from a file into a topic and from there into a file. */
final class Connect {
    private Connect() {}

    static void add() {
        Suite.TESTS.put("connect: file source and file sink", Connect::files);
    }

    static void files(World world) throws Exception {
        var topic = world.topic("connect", 1);
        var directory = Files.createTempDirectory("compat-connect");
        Path in = directory.resolve("in"), out = directory.resolve("out");
        Files.write(in, numbers(0, 100));
        var worker = write(directory.resolve("worker.properties"),
            "bootstrap.servers=" + World.BOOTSTRAP, "listeners=http://127.0.0.1:0",
            "key.converter=org.apache.kafka.connect.storage.StringConverter",
            "value.converter=org.apache.kafka.connect.storage.StringConverter",
            "offset.storage.file.filename=" + directory.resolve("offsets"), "offset.flush.interval.ms=200",
            "plugin.discovery=service_load", "reconnect.backoff.max.ms=200",
            "consumer.heartbeat.interval.ms=200", "consumer.reconnect.backoff.max.ms=200", "producer.reconnect.backoff.max.ms=200");
        var source = write(directory.resolve("source.properties"),
            "name=source-" + topic, "connector.class=FileStreamSource", "tasks.max=1", "file=" + in, "topic=" + topic);
        var sink = write(directory.resolve("sink.properties"),
            "name=sink-" + topic, "connector.class=FileStreamSink", "tasks.max=1", "file=" + out, "topics=" + topic);
        var log = directory.resolve("log").toFile();
        var process = new ProcessBuilder(
            ProcessHandle.current().info().command().orElse("java"), "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
            "-cp", System.getProperty("java.class.path"), "org.apache.kafka.connect.cli.ConnectStandalone", worker, source, sink)
            .redirectErrorStream(true).redirectOutput(log).start();
        try {
            until("the first lines", () -> lines(out, process, log).containsAll(numbers(0, 100)), 60);
            broker("restart");
            Files.write(in, numbers(100, 200), StandardOpenOption.APPEND);
            until("the lines after a restart", () -> lines(out, process, log).containsAll(numbers(0, 200)), 30);
            equal(lines(out, process, log).stream().distinct().toList(), numbers(0, 200));
            equal(world.all(topic, "read_committed"), numbers(0, 200));
            process.destroy();
            check(process.waitFor(30, TimeUnit.SECONDS), "the worker ends");
        } finally {
            process.destroyForcibly();
        }
    }

    private static void until(String what, Suite.Condition condition, int seconds) throws Exception {
        var end = System.nanoTime() + seconds * 1_000_000_000L;
        while (!condition.holds()) {
            check(System.nanoTime() < end, "not in time: " + what);
            Thread.sleep(20);
        }
    }

    private static List<String> lines(Path file, Process worker, File log) throws Exception {
        check(worker.isAlive(), "the worker ended: " + log);
        return Files.exists(file) ? Files.readAllLines(file) : new ArrayList<>();
    }

    private static String write(Path file, String... lines) throws Exception {
        return Files.write(file, List.of(lines)).toString();
    }
}

package compat;

import static compat.Suite.check;
import static compat.Suite.equal;
import static compat.World.numbers;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

import org.apache.kafka.common.utils.Exit;

/** The command-line tools, called as their scripts call them. */
final class Tools {
    private Tools() {}

    static void add() {
        Suite.TESTS.put("tools: console producer and consumer", Tools::console);
        Suite.TESTS.put("tools: the consumer of a group", Tools::group);
        Suite.TESTS.put("tools: producer and consumer performance", Tools::performance);
        Suite.TESTS.put("tools: end-to-end latency", Tools::latency);
    }

    static void console(World world) throws Exception {
        var topic = world.topic("console", 1);
        produce("key:value\nother:\n", "--topic", topic, "--property", "parse.key=true", "--property", "key.separator=:");
        var said = tool("org.apache.kafka.tools.consumer.ConsoleConsumer", "", "--bootstrap-server", World.BOOTSTRAP, "--topic", topic,
            "--from-beginning", "--max-messages", "2", "--property", "print.key=true", "--property", "print.offset=true");
        // Newer ones would rather have another word for it.
        said = said.lines().filter(line -> !line.startsWith("Option --property is deprecated")).collect(Collectors.joining("\n"));
        equal(said.lines().toList(), List.of("Offset:0\tkey\tvalue", "Offset:1\tother\t"));
    }

    static void group(World world) throws Exception {
        var topic = world.topic("console-group", 1);
        produce(String.join("\n", numbers(0, 100)) + "\n", "--topic", topic);
        var consumer = new ArrayList<>(List.of("--bootstrap-server", World.BOOTSTRAP, "--topic", topic, "--group", topic,
            "--from-beginning", "--max-messages", "60"));
        equal(tool("org.apache.kafka.tools.consumer.ConsoleConsumer", "", consumer).lines().toList(), numbers(0, 60));
        // Not the positions of a consumer that was stopped in the middle of what it had fetched.
        var told = tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "", "--bootstrap-server", World.BOOTSTRAP,
            "--group", topic, "--describe");
        check(told.lines().anyMatch(line -> line.matches(topic + "\\s+" + topic + "\\s+0\\s+\\d+\\s+100\\s+.*")), told);
        told = tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "", "--bootstrap-server", World.BOOTSTRAP,
            "--group", topic, "--topic", topic, "--reset-offsets", "--to-offset", "40", "--execute");
        check(told.contains("40"), told);
        equal(tool("org.apache.kafka.tools.consumer.ConsoleConsumer", "", consumer).lines().toList(), numbers(40, 100));
    }

    static void performance(World world) throws Exception {
        var topic = world.topic("performance", 2);
        var said = tool("org.apache.kafka.tools.ProducerPerformance", "", "--topic", topic, "--num-records", "20000",
            "--record-size", "100", "--throughput", "-1", "--producer-props", "bootstrap.servers=" + World.BOOTSTRAP, "acks=all");
        check(said.contains("20000 records sent"), said);
        said = tool("org.apache.kafka.tools.ConsumerPerformance", "", "--topic", topic, "--bootstrap-server", World.BOOTSTRAP,
            "--messages", "20000", "--hide-header", "--timeout", "15000");
        // Start, end, MB, MB/s, records, ...
        var columns = said.strip().lines().reduce((first, last) -> last).orElse("").split(", ");
        check(columns.length > 4 && columns[4].strip().equals("20000"), said);
    }

    static void latency(World world) throws Exception {
        var topic = world.topic("latency", 1);
        var said = version() < 4
            ? tool("org.apache.kafka.tools.EndToEndLatency", "", World.BOOTSTRAP, topic, "50", "all", "100")
            : tool("org.apache.kafka.tools.EndToEndLatency", "", "--bootstrap-server", World.BOOTSTRAP, "--topic", topic,
                "--num-records", "50", "--producer-acks", "all", "--record-size", "100");
        check(said.contains("Avg latency"), said);
    }

    private static int version() {
        return Integer.parseInt(org.apache.kafka.common.utils.AppInfoParser.getVersion().split("\\.")[0]);
    }

    private static void produce(String input, String... more) throws Exception {
        var arguments = new ArrayList<>(List.of("--bootstrap-server", World.BOOTSTRAP));
        arguments.addAll(List.of(more));
        // Up to 3.9 it is part of the broker's own jar.
        tool(version() < 4 ? "kafka.tools.ConsoleProducer" : "org.apache.kafka.tools.ConsoleProducer", input, arguments);
    }

    static String tool(String name, String input, String... arguments) throws Exception {
        return tool(name, input, List.of(arguments));
    }

    /** Calls the main of a tool; what it printed. */
    static String tool(String name, String input, List<String> arguments) throws Exception {
        var out = new ByteArrayOutputStream();
        var in = System.in;
        var console = System.out;
        var status = new int[] {0};
        Exit.Procedure exit = (code, message) -> {
            status[0] = Math.max(status[0], code);
            throw new Left();
        };
        Exit.setExitProcedure(exit);
        Exit.setHaltProcedure(exit);
        // They close themselves; nothing is left for the end of the program.
        Exit.setShutdownHookAdder((title, hook) -> {});
        try {
            System.setIn(new ByteArrayInputStream(input.getBytes(StandardCharsets.UTF_8)));
            System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
            Class.forName(name).getMethod("main", String[].class).invoke(null, (Object) arguments.toArray(String[]::new));
        } catch (java.lang.reflect.InvocationTargetException problem) {
            if (!(problem.getCause() instanceof Left)) {
                throw problem;
            }
        } finally {
            System.setIn(in);
            System.setOut(console);
            Exit.resetExitProcedure();
            Exit.resetHaltProcedure();
            Exit.resetShutdownHookAdder();
        }
        var said = out.toString(StandardCharsets.UTF_8);
        check(status[0] == 0, name + " ended with " + status[0] + ": " + said);
        return said;
    }

    /** Stands for the end of the program. */
    private static final class Left extends Error {
        private static final long serialVersionUID = 1;
    }
}

package compat;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.TopologyRecoveryException;
import com.rabbitmq.client.impl.DefaultExceptionHandler;

/**
 * The Java client against a broker. Prints {@code ok NAME} or {@code FAIL NAME: why} per test; see
 * compat/harness/report.py.
 */
public final class Suite {
    static final long PATIENCE_S = 15;

    /** A test gets a connection of its own. */
    interface Test {
        void run(Connection connection) throws Exception;
    }

    /** Thrown by a test that does not hold for this broker. */
    static final class Skipped extends Exception {
        private static final long serialVersionUID = 1;

        Skipped(String why) {
            super(why);
        }
    }

    static final Map<String, Test> TESTS = new LinkedHashMap<>();

    private Suite() {}

    static ConnectionFactory factory() throws Exception {
        var factory = new ConnectionFactory();
        factory.setUri(System.getenv().getOrDefault("AMQP_URL", "amqp://guest:guest@localhost:5672/%2F"));
        factory.setNetworkRecoveryInterval(200);
        factory.setExceptionHandler(new DefaultExceptionHandler() {
            @Override
            public void handleTopologyRecoveryException(Connection c, Channel ch, TopologyRecoveryException problem) {
                problem.printStackTrace(System.out);
            }
        });
        return factory;
    }

    static String unique(String name) {
        return "java." + name + "." + UUID.randomUUID().toString().substring(0, 8);
    }

    /** Asks the runner to do that to the broker, and waits until it is done. */
    static void broker(String verb) throws Exception {
        var process = new ProcessBuilder(System.getenv("COMPAT_TOOL"), verb).inheritIO().start();
        check(process.waitFor(150, TimeUnit.SECONDS) && process.exitValue() == 0, "broker " + verb);
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void equal(Object got, Object wanted) {
        check(java.util.Objects.equals(got, wanted), "got " + got + ", wanted " + wanted);
    }

    /** A consumer that keeps what it is given. */
    static final class Inbox {
        final BlockingQueue<Delivery> messages = new LinkedBlockingQueue<>();
        final BlockingQueue<String> cancelled = new LinkedBlockingQueue<>();
        final String tag;

        Inbox(Channel channel, String queue, boolean autoAck) throws Exception {
            tag = channel.basicConsume(queue, autoAck, (t, message) -> messages.add(message), cancelled::add);
        }

        Delivery take() throws Exception {
            var message = messages.poll(PATIENCE_S, TimeUnit.SECONDS);
            check(message != null, "no message came");
            return message;
        }

        String text() throws Exception {
            return new String(take().getBody());
        }
    }

    public static void main(String[] arguments) throws Exception {
        Basics.add();
        Patterns.add();
        Recovery.add();
        var wanted = arguments.length > 0 ? arguments[0] : "";
        var failed = 0;
        for (var entry : TESTS.entrySet()) {
            if (!entry.getKey().contains(wanted)) {
                continue;
            }
            try (var connection = factory().newConnection()) {
                entry.getValue().run(connection);
                System.out.println("ok " + entry.getKey());
            } catch (Skipped skipped) {
                System.out.println("skip " + entry.getKey() + ": " + skipped.getMessage());
            } catch (Throwable problem) {
                failed++;
                var why = String.valueOf(problem).lines().findFirst().orElse("");
                System.out.println("FAIL " + entry.getKey() + ": " + why);
                problem.printStackTrace(System.out);
            }
        }
        System.exit(failed == 0 ? 0 : 1);
    }
}

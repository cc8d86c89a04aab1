package compat;

import java.util.LinkedHashMap;
import java.util.Map;

/**
 * The Java clients of Apache Kafka against a broker. Prints {@code ok NAME} or {@code FAIL NAME: why} per test; see
 * compat/harness/report.py.
 */
public final class Suite {
    static final long PATIENCE_S = 15;

    /** A test gets a world of its own. */
    interface Test {
        void run(World world) throws Exception;
    }

    static final Map<String, Test> TESTS = new LinkedHashMap<>();

    private Suite() {}

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    static void equal(Object got, Object wanted) {
        check(java.util.Objects.equals(got, wanted), "got " + got + ", wanted " + wanted);
    }

    /** Waits for something that only asking again and again can tell. */
    static void until(String what, Condition condition) throws Exception {
        var end = System.nanoTime() + PATIENCE_S * 1_000_000_000L;
        while (!condition.holds()) {
            check(System.nanoTime() < end, "not in time: " + what);
            Thread.sleep(10);
        }
    }

    interface Condition {
        boolean holds() throws Exception;
    }

    public static void main(String[] arguments) {
        Records.add();
        Groups.add();
        Transactions.add();
        Administration.add();
        Tools.add();
        Streams.add();
        Connect.add();
        var wanted = arguments.length > 0 ? arguments[0] : "";
        var failed = 0;
        for (var test : TESTS.entrySet()) {
            if (!test.getKey().contains(wanted)) {
                continue;
            }
            var late = new Watch(test.getKey());
            try (var world = new World()) {
                test.getValue().run(world);
                System.out.println("ok " + test.getKey());
            } catch (Throwable problem) {
                failed++;
                problem.printStackTrace(System.out);
                System.out.println("FAIL " + test.getKey() + ": " + String.valueOf(problem).split("\n")[0]);
            }
            late.interrupt();
        }
        System.exit(failed == 0 ? 0 : 1);
    }

    /** Ends a suite in which a test waits for ever. */
    private static final class Watch extends Thread {
        Watch(String test) {
            super(() -> {
                try {
                    Thread.sleep(120_000);
                    Thread.getAllStackTraces().forEach((thread, stack) -> System.out.println(thread + " " + java.util.List.of(stack)));
                    System.out.println("FAIL " + test + ": not done within two minutes");
                    Runtime.getRuntime().halt(1);
                } catch (InterruptedException done) {
                    // The test is over.
                }
            });
            setDaemon(true);
            start();
        }
    }
}

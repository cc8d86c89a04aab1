package compat;

import static compat.Suite.PATIENCE_S;
import static compat.Suite.until;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.TimeUnit;

import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;

/** A consumer in a group, polled by a thread of its own. It knows what it was given. */
final class Member implements AutoCloseable {
    final Set<Integer> assigned = new ConcurrentSkipListSet<>();
    final Collection<String> seen = new ConcurrentLinkedQueue<>();
    private final ConcurrentLinkedQueue<Runnable> wishes = new ConcurrentLinkedQueue<>();
    private final KafkaConsumer<String, String> consumer;
    private final Thread thread;
    private volatile boolean ending;

    Member(KafkaConsumer<String, String> consumer, String topic) {
        this.consumer = consumer;
        consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
            @Override
            public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                partitions.forEach(each -> assigned.add(each.partition()));
            }

            @Override
            public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                partitions.forEach(each -> assigned.remove(each.partition()));
            }
        });
        thread = new Thread(this::poll);
        thread.setDaemon(true);
        thread.start();
    }

    private void poll() {
        try (consumer) {
            while (!ending) {
                consumer.poll(Duration.ofMillis(50)).forEach(record -> seen.add(record.value()));
                for (var wish = wishes.poll(); wish != null; wish = wishes.poll()) {
                    wish.run();
                }
            }
        }
    }

    void has(int partitions) throws Exception {
        until(partitions + " partitions", () -> assigned.size() == partitions);
    }

    /** What it was given, in the order of numbers, once that many are there. */
    List<String> got(int records) throws Exception {
        until(records + " records", () -> seen.size() >= records);
        var sorted = new ArrayList<>(seen);
        sorted.sort((a, b) -> Integer.compare(Integer.parseInt(a), Integer.parseInt(b)));
        return sorted;
    }

    /** Something that only the thread that polls may do. */
    <T> T ask(java.util.function.Function<KafkaConsumer<String, String>, T> question) throws Exception {
        var answer = new CompletableFuture<T>();
        wishes.add(() -> {
            try {
                answer.complete(question.apply(consumer));
            } catch (RuntimeException problem) {
                answer.completeExceptionally(problem);
            }
        });
        return answer.get(PATIENCE_S, TimeUnit.SECONDS);
    }

    void commit() throws Exception {
        ask(consumer -> {
            consumer.commitSync();
            return null;
        });
    }

    @Override
    public void close() throws InterruptedException {
        ending = true;
        thread.join(PATIENCE_S * 1_000);
    }
}

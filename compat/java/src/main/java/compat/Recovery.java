package compat;

import static compat.Suite.check;
import static compat.Suite.equal;
import static compat.Suite.unique;

import java.util.ArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

import com.rabbitmq.client.Connection;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.Recoverable;
import com.rabbitmq.client.RecoveryListener;

/** Automatic recovery: connection, channels, topology and consumers come back by themselves. */
final class Recovery {
    private Recovery() {}

    static void add() {
        Suite.TESTS.put("automatic recovery after a restart", connection -> recovers(connection, "restart"));
        Suite.TESTS.put("automatic recovery after a crash", connection -> recovers(connection, "crash"));
    }

    static void recovers(Connection connection, String verb) throws Exception {
        if (verb.equals("crash") && "rabbitmq".equals(System.getenv("COMPAT_BROKER"))) {
            throw new Suite.Skipped("RabbitMQ 3 may forget a queue that was declared seconds before SIGKILL");
        }
        var sender = connection.createChannel();
        var queue = unique("recovery");
        var exchange = unique("transient");
        sender.queueDeclare(queue, true, false, false, null);
        sender.exchangeDeclare(exchange, "topic", false, true, null);
        sender.queueBind(queue, exchange, "k.#");
        var own = sender.queueDeclare().getQueue();
        var ownInbox = new Suite.Inbox(sender, own, true);
        sender.confirmSelect();
        for (var number = 0; number < 20; number++) {
            sender.basicPublish("", queue, MessageProperties.PERSISTENT_BASIC, Basics.bytes(number));
        }
        sender.waitForConfirmsOrDie(15_000);
        var channel = connection.createChannel();
        channel.basicQos(10);
        channel.confirmSelect();
        var inbox = new Suite.Inbox(channel, queue, false);
        for (var number = 0; number < 5; number++) {
            channel.basicAck(inbox.take().getEnvelope().getDeliveryTag(), false);
        }
        // The acks are settled when a publish sent after them on their channel is confirmed.
        channel.basicPublish("", queue, MessageProperties.PERSISTENT_BASIC, Basics.bytes(20));
        channel.waitForConfirmsOrDie(15_000);
        for (var number = 5; number < 15; number++) {
            equal(inbox.text(), String.valueOf(number));
        }

        var recovered = new CountDownLatch(1);
        ((Recoverable) connection).addRecoveryListener(new RecoveryListener() {
            @Override
            public void handleRecovery(Recoverable recoverable) {
                recovered.countDown();
            }

            @Override
            public void handleRecoveryStarted(Recoverable recoverable) {}
        });
        Suite.broker(verb);
        check(recovered.await(60, TimeUnit.SECONDS), "recovered");

        var bodies = new ArrayList<String>();
        var wanted = new ArrayList<String>();
        for (var number = 5; number < 21; number++) {
            var message = inbox.take();
            bodies.add(new String(message.getBody()));
            wanted.add(String.valueOf(number));
            // Those that had been out are marked; after a crash the others may be.
            check(message.getEnvelope().isRedeliver() || number >= 15, "marked as redelivered: " + number);
            channel.basicAck(message.getEnvelope().getDeliveryTag(), false);
        }
        equal(bodies, wanted);
        sender.basicPublish(exchange, "k.after", MessageProperties.PERSISTENT_BASIC, "after".getBytes());
        sender.waitForConfirmsOrDie(15_000);
        equal(inbox.text(), "after");
        // The server-named queue has a new name by now; its consumer is on it.
        check(ownInbox.messages.isEmpty(), "nothing for the exclusive queue yet");
        sender.queueDelete(queue);
    }
}

package compat;

import static compat.Suite.check;
import static compat.Suite.equal;
import static compat.Suite.unique;

import java.io.IOException;
import java.util.Arrays;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.AlreadyClosedException;
import com.rabbitmq.client.AuthenticationFailureException;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.LongString;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.ShutdownSignalException;

/** Publishing, consuming, settling, errors. */
final class Basics {
    private Basics() {}

    static void add() {
        Suite.TESTS.put("confirms of a burst", Basics::confirms);
        Suite.TESTS.put("confirm listeners hear acks and nacks", Basics::nacks);
        Suite.TESTS.put("consume with acks, requeue, prefetch", Basics::acks);
        Suite.TESTS.put("a returned message comes before its confirm", Basics::returns);
        Suite.TESTS.put("properties and headers come back", Basics::properties);
        Suite.TESTS.put("bodies up to 4 MiB", Basics::bodies);
        Suite.TESTS.put("errors carry their codes and spare the other channels", Basics::errors);
        Suite.TESTS.put("a refused login is told", Basics::login);
        Suite.TESTS.put("transactions", Basics::transactions);
        Suite.TESTS.put("consumer cancel notification", Basics::cancelled);
    }

    static void confirms(Connection connection) throws Exception {
        var channel = connection.createChannel();
        var queue = unique("confirms");
        channel.queueDeclare(queue, true, false, false, null);
        channel.confirmSelect();
        for (var number = 0; number < 2_000; number++) {
            channel.basicPublish("", queue, MessageProperties.PERSISTENT_BASIC, bytes(number));
        }
        channel.waitForConfirmsOrDie(15_000);
        equal(channel.messageCount(queue), 2_000L);
        var inbox = new Suite.Inbox(channel, queue, false);
        long last = 0;
        for (var number = 0; number < 2_000; number++) {
            var message = inbox.take();
            equal(new String(message.getBody()), String.valueOf(number));
            last = message.getEnvelope().getDeliveryTag();
        }
        channel.basicAck(last, true);
        channel.close();
        channel = connection.createChannel();
        equal(channel.queueDelete(queue).getMessageCount(), 0);
    }

    static void nacks(Connection connection) throws Exception {
        var channel = connection.createChannel();
        var arguments = Map.<String, Object>of("x-max-length", 1, "x-overflow", "reject-publish");
        var queue = channel.queueDeclare("", false, true, true, arguments).getQueue();
        var heard = new LinkedBlockingQueue<String>();
        channel.addConfirmListener((tag, multiple) -> heard.add("ack"), (tag, multiple) -> heard.add("nack"));
        channel.confirmSelect();
        channel.basicPublish("", queue, null, bytes(0));
        equal(heard.poll(Suite.PATIENCE_S, TimeUnit.SECONDS), "ack");
        channel.basicPublish("", queue, null, bytes(1));
        equal(heard.poll(Suite.PATIENCE_S, TimeUnit.SECONDS), "nack");
        equal(channel.getNextPublishSeqNo(), 3L);
    }

    static void acks(Connection connection) throws Exception {
        var channel = connection.createChannel();
        var queue = channel.queueDeclare("", false, true, false, null).getQueue();
        channel.confirmSelect();
        for (var number = 0; number < 6; number++) {
            channel.basicPublish("", queue, null, bytes(number));
        }
        channel.waitForConfirmsOrDie(15_000);
        channel.basicQos(3);
        var inbox = new Suite.Inbox(channel, queue, false);
        var first = List.of(inbox.take(), inbox.take(), inbox.take());
        equal(channel.messageCount(queue), 3L);
        check(inbox.messages.isEmpty(), "prefetch is three");
        channel.basicNack(first.get(2).getEnvelope().getDeliveryTag(), false, true);
        channel.basicReject(first.get(0).getEnvelope().getDeliveryTag(), false);
        channel.basicAck(first.get(1).getEnvelope().getDeliveryTag(), false);
        // Three places are free now, and the requeued message is among those that fill them.
        var next = new java.util.TreeMap<String, Boolean>();
        for (var taken = 0; taken < 3; taken++) {
            var message = inbox.take();
            next.put(new String(message.getBody()), message.getEnvelope().isRedeliver());
        }
        equal(next, Map.of("2", true, "3", false, "4", false));
        channel.basicCancel(inbox.tag);
        channel.basicRecover(true);
        var got = channel.basicGet(queue, true);
        equal(new String(got.getBody()), "2");
        equal(got.getMessageCount(), 3);
    }

    static void returns(Connection connection) throws Exception {
        var channel = connection.createChannel();
        var heard = new LinkedBlockingQueue<String>();
        channel.addReturnListener(message ->
            heard.add("returned " + message.getReplyCode() + " " + new String(message.getBody())));
        channel.addConfirmListener((tag, multiple) -> heard.add("ack"), (tag, multiple) -> heard.add("nack"));
        channel.confirmSelect();
        channel.basicPublish("amq.direct", unique("nobody"), true, null, "x".getBytes());
        equal(heard.poll(Suite.PATIENCE_S, TimeUnit.SECONDS), "returned 312 x");
        equal(heard.poll(Suite.PATIENCE_S, TimeUnit.SECONDS), "ack");
    }

    static void properties(Connection connection) throws Exception {
        var channel = connection.createChannel();
        var queue = channel.queueDeclare().getQueue();
        var headers = new HashMap<String, Object>();
        headers.put("text", "ž站");
        headers.put("int", -5);
        headers.put("long", 1L << 40);
        headers.put("short", (short) -2);
        headers.put("byte", (byte) -1);
        headers.put("double", 1.5);
        headers.put("float", 0.5f);
        headers.put("yes", true);
        headers.put("nothing", null);
        headers.put("decimal", new java.math.BigDecimal("3.14"));
        headers.put("time", new Date(1_700_000_000_000L));
        headers.put("bytes", new byte[] {0, -1});
        headers.put("list", List.of(1, "two", Map.of("three", 3)));
        headers.put("table", Map.of("a", Map.of("b", List.of())));
        var sent = new BasicProperties.Builder().headers(headers).contentType("a/b").contentEncoding("e")
            .deliveryMode(2).priority(3).correlationId("c").replyTo("r").expiration("60000").messageId("m")
            .timestamp(new Date(1_700_000_000_000L)).type("t").userId("guest").appId("i").build();
        channel.basicPublish("", queue, sent, new byte[0]);
        var got = new Suite.Inbox(channel, queue, true).take().getProperties();
        equal(got.builder().headers(null).build(), sent.builder().headers(null).build());
        for (var name : headers.keySet()) {
            check(same(got.getHeaders().get(name), headers.get(name)), name + ": " + got.getHeaders().get(name));
        }
        equal(got.getHeaders().keySet(), headers.keySet());
    }

    /** The client gives strings as LongString, at any depth. */
    private static boolean same(Object got, Object sent) {
        if (got instanceof LongString text) {
            return text.toString().equals(sent);
        }
        if (got instanceof byte[] bytes) {
            return Arrays.equals(bytes, (byte[]) sent);
        }
        if (got instanceof List<?> list && sent instanceof List<?> other) {
            var each = other.iterator();
            return list.size() == other.size() && list.stream().allMatch(item -> same(item, each.next()));
        }
        if (got instanceof Map<?, ?> map && sent instanceof Map<?, ?> other) {
            return map.keySet().equals(other.keySet())
                && map.keySet().stream().allMatch(key -> same(map.get(key), other.get(key)));
        }
        return java.util.Objects.equals(got, sent);
    }

    static void bodies(Connection connection) throws Exception {
        var channel = connection.createChannel();
        var queue = channel.queueDeclare().getQueue();
        var inbox = new Suite.Inbox(channel, queue, true);
        for (var size : List.of(0, 1, 131_064, 131_065, 1 << 20, 4 << 20)) {
            var body = new byte[size];
            new java.util.Random(size).nextBytes(body);
            channel.basicPublish("", queue, null, body);
            check(Arrays.equals(inbox.take().getBody(), body), size + " bytes");
        }
    }

    static void errors(Connection connection) throws Exception {
        var good = connection.createChannel();
        var queue = good.queueDeclare().getQueue();
        refused(connection, 404, channel -> channel.queueDeclarePassive(unique("missing")));
        refused(connection, 404, channel -> channel.queueBind(queue, unique("missing"), ""));
        refused(connection, 403, channel -> channel.exchangeDeclare("amq.mine", "direct"));
        var name = unique("differs");
        good.queueDeclare(name, false, true, true, null);
        refused(connection, 406, channel -> channel.queueDeclare(name, false, true, false, null));
        refused(connection, 406, channel -> channel.queueDeclare(name, false, true, true, Map.of("x-max-length", 1)));
        try (var other = Suite.factory().newConnection()) {
            refused(other, 405, channel -> channel.queueDeclarePassive(name));
        }
        var unknown = connection.createChannel();
        unknown.basicAck(99, false);
        try {
            unknown.queueDeclare();
            throw new AssertionError("not closed");
        } catch (IOException | AlreadyClosedException expected) {
            equal(unknown.getCloseReason().getReason() instanceof com.rabbitmq.client.AMQP.Channel.Close close
                ? close.getReplyCode() : 0, 406);
        }
        check(good.isOpen() && good.queueDeclarePassive(queue).getMessageCount() == 0, "the others go on");
    }

    /** An action that the broker answers by closing the channel. */
    interface Action {
        void on(Channel channel) throws Exception;
    }

    private static void refused(Connection connection, int code, Action action) throws Exception {
        var channel = connection.createChannel();
        try {
            action.on(channel);
        } catch (IOException problem) {
            var signal = (ShutdownSignalException) problem.getCause();
            var close = (com.rabbitmq.client.AMQP.Channel.Close) signal.getReason();
            equal(close.getReplyCode(), code);
            return;
        }
        throw new AssertionError("not refused, wanted " + code);
    }

    static void login(Connection connection) throws Exception {
        var factory = Suite.factory();
        factory.setPassword("wrong");
        try {
            factory.newConnection().close();
            throw new AssertionError("let in");
        } catch (AuthenticationFailureException expected) {
            check(expected.getMessage().contains("ACCESS_REFUSED"), expected.getMessage());
        }
        factory = Suite.factory();
        factory.setVirtualHost("nope");
        try {
            factory.newConnection().close();
            throw new AssertionError("let in");
        } catch (IOException expected) {
            var close = (com.rabbitmq.client.AMQP.Connection.Close)
                ((ShutdownSignalException) expected.getCause()).getReason();
            equal(close.getReplyCode(), 530);
        }
    }

    static void transactions(Connection connection) throws Exception {
        var channel = connection.createChannel();
        var queue = channel.queueDeclare().getQueue();
        channel.txSelect();
        channel.basicPublish("", queue, null, bytes(1));
        channel.txRollback();
        channel.basicPublish("", queue, null, bytes(2));
        equal(channel.messageCount(queue), 0L);
        channel.txCommit();
        equal(channel.messageCount(queue), 1L);
        equal(new String(channel.basicGet(queue, true).getBody()), "2");
    }

    static void cancelled(Connection connection) throws Exception {
        var channel = connection.createChannel();
        var queue = unique("cancelled");
        channel.queueDeclare(queue, true, false, false, null);
        var inbox = new Suite.Inbox(channel, queue, true);
        connection.createChannel().queueDelete(queue);
        equal(inbox.cancelled.poll(Suite.PATIENCE_S, TimeUnit.SECONDS), inbox.tag);
    }

    static byte[] bytes(int number) {
        return String.valueOf(number).getBytes();
    }
}

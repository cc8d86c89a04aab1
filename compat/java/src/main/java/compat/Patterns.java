package compat;

import static compat.Suite.equal;
import static compat.Suite.unique;

import java.util.Map;
import java.util.concurrent.TimeoutException;

import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.BuiltinExchangeType;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.RpcClient;
import com.rabbitmq.client.RpcClientParams;
import com.rabbitmq.client.RpcServer;

/** RPC, direct reply-to, routing of each kind, dead letters. */
final class Patterns {
    private Patterns() {}

    static void add() {
        Suite.TESTS.put("RPC over direct reply-to", connection -> rpc(connection, "amq.rabbitmq.reply-to"));
        Suite.TESTS.put("RPC over a reply queue", connection -> rpc(connection, null));
        Suite.TESTS.put("RPC without a server times out or is unroutable", Patterns::rpcNobody);
        Suite.TESTS.put("direct, fanout, topic, headers, exchange to exchange", Patterns::routing);
        Suite.TESTS.put("alternate exchange and CC", Patterns::alternate);
        Suite.TESTS.put("dead letters", Patterns::deadLetters);
        Suite.TESTS.put("priorities", Patterns::priorities);
        Suite.TESTS.put("many threads with a channel each", Patterns::threads);
    }

    static void rpc(Connection connection, String replyTo) throws Exception {
        var queue = connection.createChannel().queueDeclare().getQueue();
        var server = new RpcServer(connection.createChannel(), queue) {
            @Override
            public byte[] handleCall(byte[] request, BasicProperties replyProperties) {
                return new StringBuilder(new String(request)).reverse().toString().getBytes();
            }
        };
        var thread = new Thread(() -> {
            try {
                server.mainloop();
            } catch (Exception ended) {
                // The connection is closed at the end of the test.
            }
        });
        thread.setDaemon(true);
        thread.start();
        var channel = connection.createChannel();
        var parameters = new RpcClientParams().channel(channel).exchange("").routingKey(queue).timeout(15_000);
        parameters.replyTo(replyTo == null ? channel.queueDeclare().getQueue() : replyTo);
        var client = new RpcClient(parameters);
        for (var number = 0; number < 100; number++) {
            var asked = "question " + number;
            equal(client.stringCall(asked), new StringBuilder(asked).reverse().toString());
        }
        client.close();
        server.terminateMainloop();
    }

    static void rpcNobody(Connection connection) throws Exception {
        var channel = connection.createChannel();
        var parameters = new RpcClientParams().channel(channel).exchange("")
            .routingKey(unique("nobody")).timeout(300).useMandatory();
        var client = new RpcClient(parameters);
        try {
            client.stringCall("anybody?");
            throw new AssertionError("answered");
        } catch (com.rabbitmq.client.UnroutableRpcRequestException | TimeoutException expected) {
            // Not `client.close()`: a thread of its own tells it its consumer's tag, and the return may be faster.
            channel.close();
        }
    }

    static void routing(Connection connection) throws Exception {
        var channel = connection.createChannel();
        var queue = channel.queueDeclare().getQueue();
        var inbox = new Suite.Inbox(channel, queue, true);
        var names = Map.of(
            BuiltinExchangeType.DIRECT, unique("direct"), BuiltinExchangeType.FANOUT, unique("fanout"),
            BuiltinExchangeType.TOPIC, unique("topic"), BuiltinExchangeType.HEADERS, unique("headers"));
        for (var entry : names.entrySet()) {
            channel.exchangeDeclare(entry.getValue(), entry.getKey(), false, true, null);
        }
        var direct = names.get(BuiltinExchangeType.DIRECT);
        var fanout = names.get(BuiltinExchangeType.FANOUT);
        var topic = names.get(BuiltinExchangeType.TOPIC);
        var headers = names.get(BuiltinExchangeType.HEADERS);
        channel.queueBind(queue, direct, "d");
        channel.queueBind(queue, topic, "*.t.#");
        channel.queueBind(queue, headers, "", Map.of("x-match", "all", "a", 1, "b", "x"));
        channel.exchangeBind(direct, fanout, "");
        var ab = new BasicProperties.Builder().headers(Map.of("a", 1, "b", "x", "c", true)).build();
        var a = new BasicProperties.Builder().headers(Map.of("a", 1)).build();
        channel.basicPublish(direct, "other", null, "no".getBytes());
        channel.basicPublish(topic, "t", null, "no".getBytes());
        channel.basicPublish(headers, "", a, "no".getBytes());
        channel.basicPublish(direct, "d", null, "direct".getBytes());
        channel.basicPublish(topic, "x.t", null, "topic".getBytes());
        channel.basicPublish(headers, "", ab, "headers".getBytes());
        channel.basicPublish(fanout, "d", null, "fanout".getBytes());
        for (var wanted : new String[] {"direct", "topic", "headers", "fanout"}) {
            equal(inbox.text(), wanted);
        }
    }

    static void alternate(Connection connection) throws Exception {
        var channel = connection.createChannel();
        var queue = channel.queueDeclare().getQueue();
        var copies = channel.queueDeclare().getQueue();
        var other = unique("other");
        var main = unique("main");
        channel.exchangeDeclare(other, "fanout", false, true, null);
        channel.exchangeDeclare(main, "direct", false, false, Map.of("alternate-exchange", other));
        channel.queueBind(queue, other, "");
        channel.basicPublish(main, "stranger", null, "to the other".getBytes());
        equal(new Suite.Inbox(channel, queue, true).text(), "to the other");
        channel.exchangeDelete(main);
        var cc = new BasicProperties.Builder().headers(Map.of("CC", java.util.List.of(copies))).build();
        channel.basicPublish("", queue, cc, "copy".getBytes());
        equal(new Suite.Inbox(channel, copies, true).text(), "copy");
    }

    static void deadLetters(Connection connection) throws Exception {
        var channel = connection.createChannel();
        var dead = channel.queueDeclare().getQueue();
        var arguments = Map.<String, Object>of(
            "x-dead-letter-exchange", "", "x-dead-letter-routing-key", dead, "x-message-ttl", 50);
        var queue = channel.queueDeclare("", false, true, true, arguments).getQueue();
        channel.basicPublish("", queue, null, "late".getBytes());
        var message = new Suite.Inbox(channel, dead, true).take();
        equal(new String(message.getBody()), "late");
        equal(message.getProperties().getHeaders().get("x-first-death-reason").toString(), "expired");
    }

    static void priorities(Connection connection) throws Exception {
        var channel = connection.createChannel();
        var queue = channel.queueDeclare("", false, true, true, Map.of("x-max-priority", 5)).getQueue();
        channel.confirmSelect();
        for (var priority = 0; priority <= 5; priority++) {
            var properties = new BasicProperties.Builder().priority(priority).build();
            channel.basicPublish("", queue, properties, Basics.bytes(priority));
        }
        channel.waitForConfirmsOrDie(15_000);
        for (var priority = 5; priority >= 0; priority--) {
            equal(new String(channel.basicGet(queue, true).getBody()), String.valueOf(priority));
        }
    }

    static void threads(Connection connection) throws Exception {
        var queue = connection.createChannel().queueDeclare().getQueue();
        var pool = java.util.concurrent.Executors.newFixedThreadPool(8);
        var jobs = new java.util.ArrayList<java.util.concurrent.Future<?>>();
        for (var worker = 0; worker < 8; worker++) {
            jobs.add(pool.submit(() -> {
                var channel = connection.createChannel();
                channel.confirmSelect();
                for (var number = 0; number < 250; number++) {
                    channel.basicPublish("", queue, null, Basics.bytes(number));
                }
                channel.waitForConfirmsOrDie(15_000);
                channel.close();
                return null;
            }));
        }
        for (var job : jobs) {
            job.get();
        }
        pool.shutdown();
        equal(connection.createChannel().messageCount(queue), 2_000L);
    }
}

"""aio-pika: asyncio, robust connections, and patterns built on them."""

import asyncio

import aio_pika
import pytest
from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.exceptions import (
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
    ProbableAuthenticationError,
)
from aio_pika.patterns import RPC, Master
from conftest import PATIENCE_S, URL, broker


def run(test):
    """Runs the coroutine as a pytest test, in a time that bounds every wait inside."""

    def wrapper(name):
        asyncio.run(asyncio.wait_for(test(name), PATIENCE_S * 4))

    wrapper.__name__, wrapper.__doc__ = test.__name__, test.__doc__
    return wrapper


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, PATIENCE_S)


@run
async def test_publish_and_consume(name):
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(name, exclusive=True)
        for number in range(100):
            message = Message(b"%d" % number, headers={"n": number}, delivery_mode=DeliveryMode.PERSISTENT)
            # Awaits the confirm: confirms are what aio-pika does unless told otherwise.
            await channel.default_exchange.publish(message, name)
        bodies = []
        async with queue.iterator() as messages:
            async for message in messages:
                async with message.process():
                    assert message.headers == {"n": len(bodies)}
                    bodies.append(message.body)
                if len(bodies) == 100:
                    break
        assert bodies == [b"%d" % number for number in range(100)]
        assert (await queue.declare()).message_count == 0


@run
async def test_many_publishes_at_once_are_each_confirmed(name):
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel()
        await channel.declare_queue(name, exclusive=True)
        exchange = channel.default_exchange
        await asyncio.gather(*[exchange.publish(Message(b"%d" % number), name) for number in range(1_000)])
        queue = await channel.declare_queue(name, passive=True)
        assert queue.declaration_result.message_count == 1_000


@run
async def test_unroutable_and_rejected_publishes_raise(name):
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel(on_return_raises=True)
        with pytest.raises(DeliveryError):
            await channel.default_exchange.publish(Message(b"x"), name + ".nobody")
        arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
        await channel.declare_queue(name, exclusive=True, arguments=arguments)
        await channel.default_exchange.publish(Message(b"fits"), name)
        with pytest.raises(DeliveryError):
            await channel.default_exchange.publish(Message(b"does not"), name)


@run
async def test_reject_requeue_and_context_manager(name):
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(name, exclusive=True)
        await channel.default_exchange.publish(Message(b"x"), name)
        message = await queue.get(timeout=PATIENCE_S)
        assert not message.redelivered
        with pytest.raises(ValueError):
            async with message.process(requeue=True):
                raise ValueError
        message = await queue.get(timeout=PATIENCE_S)
        assert message.redelivered
        await message.reject(requeue=False)
        assert await queue.get(fail=False) is None


@run
async def test_prefetch(name):
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=5)
        queue = await channel.declare_queue(name, exclusive=True)
        for number in range(12):
            await channel.default_exchange.publish(Message(b"%d" % number), name)
        inbox = asyncio.Queue()
        await queue.consume(inbox.put)
        first = [await soon(inbox.get()) for _ in range(5)]
        assert (await queue.declare()).message_count == 7
        await first[-1].ack(multiple=True)
        for _ in range(5):
            await soon(inbox.get())
        assert (await queue.declare()).message_count == 2


@run
async def test_exchanges_of_each_type(name):
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel()
        for kind, key, arguments in [
            (ExchangeType.DIRECT, "k.a", None),
            (ExchangeType.FANOUT, "", None),
            (ExchangeType.TOPIC, "k.*", None),
            (ExchangeType.HEADERS, "", {"x-match": "all", "h": "v"}),
        ]:
            exchange = await channel.declare_exchange(f"{name}.{kind.value}", kind, auto_delete=True)
            queue = await channel.declare_queue(exclusive=True)
            await queue.bind(exchange, key, arguments=arguments)
            await exchange.publish(Message(kind.value.encode(), headers={"h": "v"}), "k.a")
            message = await queue.get(timeout=PATIENCE_S, no_ack=True)
            assert message.body == kind.value.encode()
            await queue.unbind(exchange, key, arguments=arguments)


@run
async def test_errors_have_their_own_exceptions(name):
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel()
        with pytest.raises(ChannelNotFoundEntity):
            await channel.declare_queue(name, passive=True)
        channel = await connection.channel()
        await channel.declare_queue(name, exclusive=True)
        with pytest.raises(ChannelPreconditionFailed):
            await channel.declare_queue(name, exclusive=True, arguments={"x-max-length": 1})
    with pytest.raises(ProbableAuthenticationError):
        await aio_pika.connect(URL.replace("guest:guest", "guest:wrong"))


@run
async def test_transaction(name):
    async with await aio_pika.connect(URL) as connection:
        channel = await connection.channel(publisher_confirms=False)
        queue = await channel.declare_queue(name, exclusive=True)
        async with channel.transaction():
            await channel.default_exchange.publish(Message(b"kept"), name)
        with pytest.raises(ValueError):
            async with channel.transaction():
                await channel.default_exchange.publish(Message(b"dropped"), name)
                raise ValueError
        assert (await queue.get(timeout=PATIENCE_S, no_ack=True)).body == b"kept"
        assert await queue.get(fail=False) is None


@run
async def test_rpc_pattern(name):
    async with await aio_pika.connect(URL) as connection:
        server = await RPC.create(await connection.channel())
        client = await RPC.create(await connection.channel())

        async def multiply(*, x, y):
            return x * y

        await server.register(name, multiply, auto_delete=True)
        answers = await soon(asyncio.gather(*[client.call(name, kwargs={"x": n, "y": n}) for n in range(50)]))
        assert answers == [n * n for n in range(50)]
        await client.close()
        await server.close()


@run
async def test_master_and_workers(name):
    async with await aio_pika.connect(URL) as connection:
        done = asyncio.Queue()

        async def work(*, number):
            await done.put(number)

        master = Master(await connection.channel())
        workers = [
            await Master(await connection.channel()).create_worker(name, work, auto_delete=True) for _ in range(3)
        ]
        for number in range(30):
            await master.create_task(name, kwargs={"number": number})
        assert sorted([await soon(done.get()) for _ in range(30)]) == list(range(30))
        for worker in workers:
            await worker.close()


@run
async def test_robust_connection_recovers_from_a_restart(name):
    connection = await aio_pika.connect_robust(URL, reconnect_interval=0.2)
    async with connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=10)
        queue = await channel.declare_queue(name, durable=True)
        exchange = await channel.declare_exchange(name, ExchangeType.TOPIC, auto_delete=True)
        await queue.bind(exchange, "k.#")
        sender = await connection.channel()
        for number in range(20):
            message = Message(b"%d" % number, delivery_mode=DeliveryMode.PERSISTENT)
            await sender.default_exchange.publish(message, name)
        inbox = asyncio.Queue()
        await queue.consume(inbox.put)
        for _ in range(5):
            await (await soon(inbox.get())).ack()
        # The acks are settled when a publish sent after them on their channel is confirmed.
        await channel.default_exchange.publish(Message(b"20", delivery_mode=DeliveryMode.PERSISTENT), name)
        for _ in range(10):
            await soon(inbox.get())

        back = asyncio.Event()
        connection.reconnect_callbacks.add(lambda *_: back.set())
        await asyncio.to_thread(broker, "restart")
        await soon(back.wait())

        again = []
        while len(again) < 16:
            message = await soon(inbox.get())
            again.append(message)
            await message.ack()
        assert [message.body for message in again] == [b"%d" % number for number in range(5, 21)]
        # Exchange and binding were transient: the client has made them again.
        sender = await connection.channel()
        exchange = await sender.get_exchange(name)
        await exchange.publish(Message(b"after"), "k.after")
        message = await soon(inbox.get())
        assert message.body == b"after"
        await message.ack()
        await queue.delete(if_unused=False)

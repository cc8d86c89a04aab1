"""Connections and names for the tests."""

import contextlib
import os
import time
import uuid

import pika
import pytest
from verdicts import PATIENCE_S, broker  # noqa: F401

HOST = os.environ.get("AMQP_HOST", "localhost")
PORT = int(os.environ.get("AMQP_PORT", "5672"))
URL = os.environ.get("AMQP_URL", f"amqp://guest:guest@{HOST}:{PORT}/%2F")

#: The installed rabbitmq-server is a 3.10; where RabbitMQ 4 answers otherwise, Yam follows 4, and
#: the few tests concerned say so.
RABBITMQ_3 = os.environ.get("COMPAT_BROKER") == "rabbitmq"


def pytest_configure(config):
    config.addinivalue_line("markers", "differs_in_rabbitmq_3: RabbitMQ 4 behaviour that 3.10 lacks")


@pytest.fixture(autouse=True)
def _only_where_it_holds(request):
    mark = request.node.get_closest_marker("differs_in_rabbitmq_3")
    if mark and RABBITMQ_3:
        pytest.skip(mark.args[0] if mark.args else "RabbitMQ 4 behaviour")


@pytest.fixture
def connect():
    """Makes connections that are closed when the test is over."""
    made = []

    def make(**options):
        # Not a heartbeat in the tests that are about something else: a debugger may stop them.
        options.setdefault("heartbeat", 0)
        options.setdefault("blocked_connection_timeout", PATIENCE_S)
        made.append(pika.BlockingConnection(pika.ConnectionParameters(HOST, PORT, **options)))
        return made[-1]

    yield make
    for connection in made:
        # A test may have ended it, or the broker of it.
        with contextlib.suppress(pika.exceptions.AMQPError, TimeoutError):
            connection.close()


@pytest.fixture
def connection(connect):
    return connect()


@pytest.fixture
def ch(connection):
    return connection.channel()


@pytest.fixture
def name(request):
    """A name that nothing else uses."""
    return f"{request.node.name[:60]}.{uuid.uuid4().hex[:8]}"


@pytest.fixture
def queue(ch, name):
    """An exclusive queue of the test's connection, empty."""
    return ch.queue_declare(name, exclusive=True).method.queue


def until(connection, condition, what, patience=PATIENCE_S):
    """Lets the connection work until the condition holds; what it was is said if it never does."""
    end = time.monotonic() + patience
    while not condition():
        left = end - time.monotonic()
        assert left > 0, f"not within {patience} s: {what}"
        connection.process_data_events(time_limit=min(left, 0.2))


class Inbox:
    """A consumer that keeps what it is given."""

    def __init__(self, channel, queue, auto_ack=False, **options):
        self.channel, self.messages = channel, []
        self.tag = channel.basic_consume(queue, self._take, auto_ack=auto_ack, **options)

    def _take(self, channel, method, properties, body):
        self.messages.append((method, properties, body))

    def wait(self, count):
        """The first `count` messages, once they are there."""
        until(
            self.channel.connection,
            lambda: len(self.messages) >= count,
            f"{count} messages (there are {len(self.messages)})",
        )
        return self.messages[:count]

    def bodies(self, count):
        return [body for _, _, body in self.wait(count)]

    def clear(self):
        self.messages.clear()


def get(channel, queue, auto_ack=True):
    """basic.get that waits for a message to be there: publishing is not answered."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        method, properties, body = channel.basic_get(queue, auto_ack=auto_ack)
        if method is not None:
            return method, properties, body
    raise AssertionError(f"nothing came into {queue}")


def drain(channel, queue):
    """All bodies that are ready now, in order."""
    bodies = []
    while True:
        method, _, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return bodies
        bodies.append(body)


def ready(channel, queue):
    """The count of ready messages, as a passive declare tells it."""
    return channel.queue_declare(queue, passive=True).method.message_count


def await_ready(channel, queue, count):
    """Waits until exactly that many messages are ready."""
    end = time.monotonic() + PATIENCE_S
    seen = None
    while time.monotonic() < end:
        seen = ready(channel, queue)
        if seen == count:
            return
        channel.connection.process_data_events(time_limit=0.01)
    raise AssertionError(f"{queue} has {seen} ready messages, not {count}")


def channel_refuses(code, action, *arguments, **options):
    """The action makes the broker close the channel with that code; the text is returned."""
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        action(*arguments, **options)
    assert closed.value.reply_code == code, closed.value.reply_text
    return closed.value.reply_text


def channel_dies(code, channel):
    """The broker closes the channel by itself with that code; the text is returned."""
    reasons = []
    channel._impl.add_on_close_callback(lambda _, reason: reasons.append(reason))
    until(channel.connection, lambda: channel.is_closed, "the channel is closed by the broker")
    reason = reasons[0] if reasons else channel._closing_reason
    assert reason.reply_code == code, reason.reply_text
    return reason.reply_text


def connection_dies(code, connection):
    """The broker closes the connection with that code; the text is returned."""
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as closed:
        until(connection, lambda: False, "the connection is closed by the broker")
    assert closed.value.reply_code == code, closed.value.reply_text
    return closed.value.reply_text


@pytest.fixture
def publish(connection):
    """Publishes on a channel with confirms: when it returns, the message is where it belongs."""
    channel = connection.channel()
    channel.confirm_delivery()

    def publish(exchange, key, body=b"", mandatory=False, **properties):
        channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties), mandatory)

    publish.channel = channel
    return publish


def fill(publish, queue, count):
    """The bodies 0, 1, 2 ... in the queue."""
    for number in range(count):
        publish("", queue, b"%d" % number)

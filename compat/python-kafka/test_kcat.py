"""kcat, the command-line client on librdkafka, in the version of Debian."""

import json
import signal
import subprocess
import threading
import time

import pytest
from conftest import BOOTSTRAP, CLIENT, GROUP, PATIENCE_S, SHORT_SESSION, broker, create, until

PAUSES = [f"-X{key}={value}" for key, value in CLIENT.items() if key != "bootstrap.servers"]
MEMBER = [f"-X{key}={value}" for key, value in GROUP.items()]
SHORT = [f"-X{key}={value}" for key, value in SHORT_SESSION.items()]


def kcat(*arguments, given=None, code=0):
    """Runs it to its end; what it printed."""
    command = ["kcat", "-b", BOOTSTRAP, "-q", *PAUSES, *map(str, arguments)]
    given = given if given is None or isinstance(given, bytes) else given.encode()
    done = subprocess.run(command, input=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=4 * PATIENCE_S)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode()


class Running:
    """A kcat that goes on until it is ended. Its lines and complaints can be waited for."""

    def __init__(self, *arguments):
        command = ["kcat", "-b", BOOTSTRAP, "-u", *PAUSES, *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines, self.said = [], []
        for stream, to in [(self.process.stdout, self.lines), (self.process.stderr, self.said)]:
            threading.Thread(target=self._read, args=(stream, to), daemon=True).start()

    def _read(self, stream, to):
        for line in stream:
            to.append(line.rstrip("\n"))

    def assigned(self):
        """How many partitions the last rebalance left it with."""
        told = [line for line in list(self.said) if "rebalanced" in line]
        return told[-1].count("[") if told and "assigned:" in told[-1] else 0

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@pytest.fixture
def running():
    made = []

    def run(*arguments):
        made.append(Running(*arguments))
        return made[-1]

    yield run
    for each in made:
        each.process.kill()
        each.process.wait()


def lines(*span):
    return "".join(f"{number}\n" for number in range(*span))


def test_metadata(admin, name):
    create(admin, name, 3)
    listed = json.loads(kcat("-L", "-J", "-t", name))
    assert listed["brokers"] == [{"id": listed["controllerid"], "name": BOOTSTRAP}]
    assert len(listed["topics"][0]["partitions"]) == 3
    assert name in [topic["topic"] for topic in json.loads(kcat("-L", "-J"))["topics"]]


def test_produce_and_consume(topic):
    kcat("-P", "-t", topic, "-K:", "-Hh=1", "-Hh=2", "-Z", given="k1:v1\nk2:\nk3:v3\n")
    shown = kcat("-C", "-t", topic, "-e", "-o", "beginning", "-f", "%p/%o %k %s %S %h\\n")
    assert shown.splitlines() == ["0/0 k1 v1 2 h=1,h=2", "0/1 k2  -1 h=1,h=2", "0/2 k3 v3 2 h=1,h=2"]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_compression(topic, codec):
    given = "".join(f"{number} {'x' * 100}\n" for number in range(1_000))
    kcat("-P", "-t", topic, "-z", codec, given=given)
    assert kcat("-C", "-t", topic, "-e", "-o", "beginning") == given


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_acks(topic, acks):
    kcat("-P", "-t", topic, f"-Xacks={acks}", given=lines(500))
    assert kcat("-C", "-t", topic, "-c", 500, "-o", "beginning") == lines(500)


def test_offsets(topic):
    kcat("-P", "-t", topic, given=lines(10))
    assert kcat("-C", "-t", topic, "-e", "-o", 7) == lines(7, 10)
    assert kcat("-C", "-t", topic, "-e", "-o", -2) == lines(8, 10)
    assert kcat("-Q", "-t", f"{topic}:0:-1").split() == [topic, "[0]", "offset", "10"]
    assert kcat("-Q", "-t", f"{topic}:0:-2").split() == [topic, "[0]", "offset", "0"]
    assert kcat("-C", "-t", topic, "-e", "-o", f"s@{int(time.time() * 1_000) - 60_000}") == lines(10)


def test_a_large_record(topic):
    given = "x" * 900_000 + "\n"
    kcat("-P", "-t", topic, given=given)
    assert kcat("-C", "-t", topic, "-e", "-o", "beginning") == given


def test_a_group_rebalances(admin, name, running):
    create(admin, name, 4)
    first = running(*MEMBER, "-G", name, name)
    until(lambda: first.assigned() == 4, "four partitions")
    second = running(*MEMBER, "-G", name, name)
    until(lambda: first.assigned() == second.assigned() == 2, "two partitions each")
    for partition in range(4):
        kcat("-P", "-t", name, "-p", partition, given=lines(partition * 5, partition * 5 + 5))
    until(lambda: len(first.lines) == len(second.lines) == 10, "ten lines each")
    assert sorted(map(int, first.lines + second.lines)) == list(range(20))
    assert second.end() == 0
    until(lambda: first.assigned() == 4, "four partitions again")
    kcat("-P", "-t", name, "-p", 3, given=lines(20, 21))
    kcat("-P", "-t", name, "-p", 0, given=lines(21, 22))
    until(lambda: {"20", "21"} <= set(first.lines), "what came after it")


@pytest.mark.parametrize("verb", ["restart", "crash"])
def test_a_group_resumes_from_its_commit(topic, verb):
    kcat("-P", "-t", topic, given=lines(20))
    assert kcat(*MEMBER, *SHORT, "-c", 8, "-G", topic, topic) == lines(8)

    broker(verb)

    assert kcat(*MEMBER, "-c", 12, "-G", topic, topic) == lines(8, 20)


@pytest.mark.parametrize("verb", ["restart", "crash"])
def test_a_consumer_goes_on_after_the_broker_came_back(topic, running, verb):
    kcat("-P", "-t", topic, given=lines(5))
    # Without -E it ends when its only broker is gone.
    consumer = running(*MEMBER, "-E", "-G", topic, topic)
    until(lambda: consumer.lines == lines(5).split(), "five lines")

    broker(verb)

    kcat("-P", "-t", topic, given=lines(5, 10))
    until(lambda: len(consumer.lines) >= 10, "ten lines")
    # What was not committed before the crash may come once more.
    assert list(dict.fromkeys(consumer.lines)) == lines(10).split()

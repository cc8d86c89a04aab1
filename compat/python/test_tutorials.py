"""The programs of examples/pika, run as a person would run them."""

import os
import pathlib
import queue
import signal
import subprocess
import sys
import threading

import pytest
from conftest import HOST, PATIENCE_S, PORT

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples" / "pika"


class Program:
    """A running example and the lines that it prints."""

    def __init__(self, file, *arguments):
        self.lines = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-B", EXAMPLES / file, *arguments],
            env=dict(os.environ, AMQP_HOST=HOST, AMQP_PORT=str(PORT)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def says(self):
        line = self.lines.get(timeout=PATIENCE_S)
        assert line is not None, "the program ended"
        return line

    def ends(self):
        """What it still says, once it has ended by itself without complaint."""
        said = []
        while (line := self.lines.get(timeout=PATIENCE_S)) is not None:
            said.append(line)
        assert self.process.wait(PATIENCE_S) == 0, said
        return said

    def interrupt(self):
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def kill(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def program():
    started = []

    def start(file, *arguments):
        started.append(Program(file, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.fixture
def waiting(program):
    """Starts a program that listens and waits until it does."""

    def start(file, *arguments):
        started = program(file, *arguments)
        assert started.says() == "waiting; Ctrl-C ends"
        return started

    return start


def test_hello_arrives_before_and_after_the_receiver_starts(program, waiting):
    assert program("hello_send.py", "early").ends() == ["sent: early"]
    receiver = waiting("hello_receive.py")
    assert receiver.says() == "received: early"
    program("hello_send.py").ends()
    assert receiver.says() == "received: Hello, world!"


def test_tasks_are_shared_and_a_dead_workers_task_goes_to_another(program, waiting):
    first, second = waiting("work_do.py"), waiting("work_do.py")
    program("work_submit.py", "a.", "b.", "c.", "d.").ends()
    shares = [[worker.says() for _ in range(4)] for worker in (first, second)]
    assert all([line.split(":")[0] for line in share] == ["doing", "done"] * 2 for share in shares)
    assert sorted(line for share in shares for line in share if "done" in line) == [
        f"done: {task}." for task in "abcd"
    ]

    second.interrupt()
    assert second.ends() == []
    # Hours of work, so that the worker is killed in the midst of it.
    endless = "e" + "." * 100_000
    program("work_submit.py", endless).ends()
    assert first.says() == f"doing: {endless}"
    third = waiting("work_do.py")
    first.kill()
    assert third.says() == f"doing: {endless}"


def test_fanout_reaches_everybody(program, waiting):
    listeners = [waiting("fanout_listen.py") for _ in range(3)]
    program("fanout_emit.py", "tea", "is", "ready").ends()
    assert [each.says() for each in listeners] == ["news: tea is ready"] * 3


def test_direct_routes_by_severity(program, waiting):
    both, errors = waiting("direct_listen.py", "error", "warning"), waiting("direct_listen.py", "error")
    for severity in ["info", "warning", "error"]:
        program("direct_emit.py", severity, "text").ends()
    assert [both.says(), both.says()] == ["warning: text", "error: text"]
    assert errors.says() == "error: text"


def test_topics_route_by_pattern(program, waiting):
    kitchen, heat = waiting("topic_listen.py", "kitchen.#"), waiting("topic_listen.py", "*.*.temperature", "#.oven.*")
    for key in ["kitchen", "kitchen.oven.temperature", "hall.floor.temperature", "hall.door.open"]:
        program("topic_emit.py", key, "1").ends()
    assert [kitchen.says(), kitchen.says()] == ["kitchen: 1", "kitchen.oven.temperature: 1"]
    # The oven's key fits both of its patterns and still comes once.
    assert [heat.says(), heat.says()] == ["kitchen.oven.temperature: 1", "hall.floor.temperature: 1"]


def test_rpc_answers_each_caller(program, waiting):
    server = waiting("rpc_server.py")
    callers = [program("rpc_client.py", "10", "30"), program("rpc_client.py", "90")]
    assert callers[0].ends() == ["fibonacci(10) = 55", "fibonacci(30) = 832040"]
    assert callers[1].ends() == ["fibonacci(90) = 2880067194370816120"]
    assert sorted(server.says() for _ in range(3)) == ["asked for: 10", "asked for: 30", "asked for: 90"]

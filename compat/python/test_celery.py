"""A Celery worker in a process of its own: tasks, retries, results over the rpc backend, recovery."""

import os
import pathlib
import subprocess
import sys
import threading

import pytest
from celery import chain, chord, group
from celery.exceptions import TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeout
from celery_app import add, app, echo, flaky, total, wrong
from conftest import PATIENCE_S, broker


class Worker:
    def __init__(self, pool="threads"):
        here = pathlib.Path(__file__).parent
        command = [sys.executable, "-B", "-m", "celery", "-A", "celery_app", "worker"]
        command += [f"--pool={pool}", "--concurrency=4", "--loglevel=INFO", "--hostname=compat@localhost"]
        self.process = subprocess.Popen(
            command, cwd=here, env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.log, self.ready = [], threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.log.append(line)
            if " ready." in line:
                self.ready.set()
        self.ready.set()

    def stop(self):
        self.process.terminate()
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@pytest.fixture(scope="module")
def worker():
    worker = Worker()
    came = worker.ready.wait(PATIENCE_S * 2)
    if not came or worker.process.poll() is not None:
        worker.stop()
        pytest.fail("the worker did not start:\n" + "".join(worker.log))
    yield worker
    worker.stop()
    sys.stdout.write("".join(worker.log))


def test_task_and_result(worker):
    assert add.delay(2, 3).get(timeout=PATIENCE_S) == 5


def test_many_tasks(worker):
    results = [add.delay(number, 1) for number in range(200)]
    assert [result.get(timeout=PATIENCE_S) for result in results] == [number + 1 for number in range(200)]


def test_a_failing_task_tells_its_error(worker):
    with pytest.raises(ValueError, match="on purpose"):
        wrong.delay().get(timeout=PATIENCE_S)


def test_retries_come_back_until_it_works(worker, name):
    assert flaky.delay(name, 3).get(timeout=PATIENCE_S) == 4


def test_countdown_is_waited_for(worker):
    assert add.apply_async((1, 1), countdown=0.5).get(timeout=PATIENCE_S) == 2


def test_groups_and_chains(worker):
    jobs = group(add.s(number, number) for number in range(10)).apply_async()
    assert jobs.get(timeout=PATIENCE_S) == [2 * number for number in range(10)]
    assert chain(add.s(1, 2), add.s(10), add.s(100)).apply_async().get(timeout=PATIENCE_S) == 113


def test_chords_are_refused_by_the_rpc_backend_and_not_by_the_broker(worker):
    with pytest.raises(NotImplementedError):
        chord([add.s(1, 1)])(total.s())


def test_large_payload(worker):
    payload = {"text": "x" * 1_000_000, "list": list(range(1_000))}
    assert echo.delay(payload).get(timeout=PATIENCE_S) == payload


def test_priorities_and_expiry_are_taken(worker):
    results = [add.apply_async((1, priority), priority=priority) for priority in range(10)]
    assert [result.get(timeout=PATIENCE_S) for result in results] == [1 + priority for priority in range(10)]
    # Published with `expiration` 0, which still reaches a worker that is waiting; that one revokes it.
    with pytest.raises(TaskRevokedError):
        add.apply_async((1, 1), expires=-1).get(timeout=PATIENCE_S)


def test_remote_control_and_inspection(worker):
    """Pings and questions go through a fanout exchange and auto-deleted reply queues that expire."""
    assert app.control.ping(timeout=3, limit=1) == [{"compat@localhost": {"ok": "pong"}}]
    inspected = app.control.inspect(["compat@localhost"], timeout=3, limit=1)
    assert "celery_app.add" in inspected.registered()["compat@localhost"]
    (queue,) = inspected.active_queues()["compat@localhost"]
    assert queue["name"] == app.conf.task_default_queue


def test_events_arrive(worker):
    """Events go through a topic exchange; the listener asks all workers for a sign of life."""
    heard = []
    with app.connection() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": heard.append})
        receiver.capture(limit=1, timeout=PATIENCE_S, wakeup=True)
    assert heard[0]["hostname"] == "compat@localhost"
    assert heard[0]["type"].startswith("worker-")


def test_tasks_outlive_a_restart_of_the_broker(worker):
    before = [add.delay(number, 0) for number in range(10)]
    assert [result.get(timeout=PATIENCE_S) for result in before] == list(range(10))
    broker("restart")
    # Worker and client find the broker again by themselves.
    result = None
    for _ in range(10):
        result = add.apply_async((20, 22), retry=True, retry_policy={"max_retries": 20, "interval_start": 0.2})
        try:
            assert result.get(timeout=PATIENCE_S) == 42
            return
        except (ConnectionError, OSError):
            continue
    pytest.fail("never again")


def test_a_task_sent_while_no_worker_runs_waits_for_one(worker):
    assert worker.stop() == 0
    result = add.delay(40, 2)
    with pytest.raises(CeleryTimeout):
        result.get(timeout=0.5)
    # This one works in processes of its own, which publish their results themselves.
    second = Worker(pool="prefork")
    try:
        assert result.get(timeout=PATIENCE_S * 2) == 42
        results = [add.delay(number, 1) for number in range(100)]
        assert [each.get(timeout=PATIENCE_S) for each in results] == [number + 1 for number in range(100)]
    finally:
        second.stop()

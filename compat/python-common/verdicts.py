"""What the suites in Python share, as a plugin of pytest: verdicts as lines that compat/run
understands, a bound on each test, and the way to the broker's restarts."""

import os
import signal
import socket

import pytest

#: Long enough for a busy machine. Nothing waits this long unless it fails.
PATIENCE_S = 15


def pytest_report_teststatus(report):
    """No dots: the lines of pytest_runtest_logreport stand for them."""
    words = {"passed": "passed", "failed": "failed", "skipped": "skipped"}
    return words[report.outcome] if report.when == "call" or report.outcome != "passed" else "", "", ""


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report):
    name = report.nodeid.split("::", 1)[-1]
    if report.outcome == "failed":
        # `when` tells a failed assertion from a broken set-up or clean-up.
        crash = getattr(report.longrepr, "reprcrash", None)
        why = crash.message.splitlines()[0] if crash and crash.message else report.when
        say(f"FAIL {name}: {why[:200]}")
    elif report.outcome == "skipped":
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        say(f"skip {name}: {why}")
    elif report.when == "call":
        say(f"ok {name}")


def say(line):
    os.write(1, f"{line}\n".encode())


@pytest.fixture(autouse=True)
def _in_time():
    """Ends a test that waits for ever, so that the others still run."""

    def late(*_):
        # Cleaning up may wait for the same thing.
        signal.alarm(5)
        raise TimeoutError(f"not done within {4 * PATIENCE_S} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(4 * PATIENCE_S)
    yield
    signal.alarm(0)


def broker(verb):
    """Asks the runner to stop, start, restart or crash the broker of this suite."""
    host, port = os.environ["COMPAT_CONTROL"].rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=150) as control:
        control.sendall(verb.encode() + b"\n")
        answer = control.makefile().readline().strip()
    assert answer == "ok", answer

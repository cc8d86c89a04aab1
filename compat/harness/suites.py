"""The suites: what each needs, how it is prepared, and the command that runs it.

Nothing is written beside the sources: packages, builds and logs go to target/compat.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

COMPAT = pathlib.Path(__file__).resolve().parent.parent
ROOT = COMPAT.parent
WORK = ROOT / "target" / "compat"
PREPARE_TIMEOUT_S = 600


class PrepareError(Exception):
    """The tools of a language are there, but its packages could not be set up."""


def run(command, cwd, env=None):
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PREPARE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise PrepareError(f"{command[0]} took longer than {PREPARE_TIMEOUT_S} s") from None
    if done.returncode != 0:
        words = done.stdout.decode(errors="replace").splitlines()[-40:]
        raise PrepareError(f"{' '.join(map(str, command))} failed:\n" + "\n".join(words))


def fingerprint(*files):
    digest = hashlib.sha256()
    for file in files:
        digest.update(pathlib.Path(file).read_bytes())
    return digest.hexdigest()


def once(stamp, wanted, prepare):
    """Runs `prepare` unless the stamp says that this very input is prepared already."""
    if stamp.exists() and stamp.read_text() == wanted:
        return
    prepare()
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(wanted)


class Python:
    """pytest on one file, in a virtual environment with pinned packages."""

    language, tools = "python", ("python3",)

    def __init__(self, name, file):
        self.name, self.file = name, file

    def prepare(self):
        venv, wanted = WORK / "venv", COMPAT / "python" / "requirements.txt"

        def install():
            shutil.rmtree(venv, ignore_errors=True)
            run([sys.executable, "-m", "venv", venv], COMPAT)
            run([venv / "bin" / "pip", "install", "--quiet", "-r", wanted], COMPAT)

        once(WORK / "venv.stamp", fingerprint(wanted) + sys.version, install)

    def command(self, extra):
        tests = COMPAT / "python" / self.file
        return [WORK / "venv" / "bin" / "python", "-B", "-m", "pytest", "-q", "--no-header",
                "--tb=short", "--show-capture=no", "-p", "no:cacheprovider", tests, *extra]

    def cwd(self):
        return COMPAT / "python"


class Node:
    """amqplib, installed from the lock file into a copy of the suite."""

    name, language, tools = "node", "node", ("node", "npm")

    def cwd(self):
        return WORK / "node"

    def prepare(self):
        source, copy = COMPAT / "node", self.cwd()
        copy.mkdir(parents=True, exist_ok=True)
        for file in source.iterdir():
            shutil.copy(file, copy / file.name)
        lock = source / "package-lock.json"
        once(WORK / "node.stamp", fingerprint(lock), lambda: run(["npm", "ci", "--silent"], copy))

    def command(self, extra):
        return ["node", "suite.mjs", *extra]


class Java:
    """The Java client, through Maven, in a copy of the suite."""

    name, language, tools = "java", "java", ("java", "javac", "mvn")

    def cwd(self):
        return WORK / "java"

    def prepare(self):
        source = COMPAT / "java"
        copy = self.cwd()
        sources = [file for file in sorted(source.rglob("*")) if file.is_file()]

        def build():
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(source, copy)
            run(["mvn", "-q", "-B", "package"], copy)

        once(WORK / "java.stamp", fingerprint(*sources), build)

    def command(self, extra):
        classes = f"{self.cwd()}/target/classes:{self.cwd()}/target/dependency/*"
        return ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", classes, "compat.Suite", *extra]


class Go:
    """amqp091-go, built outside the source tree."""

    name, language, tools = "go", "go", ("go",)

    def cwd(self):
        return COMPAT / "go"

    def prepare(self):
        run(["go", "build", "-mod=readonly", "-o", WORK / "go-suite", "."], self.cwd())

    def command(self, extra):
        return [WORK / "go-suite", *extra]


ALL = [
    Python("tutorials", "test_tutorials.py"),
    Python("pika", "test_pika.py"),
    Python("pika-messages", "test_pika_messages.py"),
    Python("pika-wire", "test_pika_wire.py"),
    Python("pika-queues", "test_pika_queues.py"),
    Python("pika-restart", "test_pika_restart.py"),
    Python("aio-pika", "test_aio_pika.py"),
    Python("celery", "test_celery.py"),
    Node(),
    Java(),
    Go(),
]


def chosen(names):
    """Suites by their own name or by their language; all of them when none is named."""
    known = {suite.name for suite in ALL} | {suite.language for suite in ALL}
    unknown = sorted(set(names) - known)
    if unknown:
        sys.exit(f"no such suite: {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    return [suite for suite in ALL if not names or suite.name in names or suite.language in names]


def missing(suite):
    return [tool for tool in suite.tools if shutil.which(tool) is None]


def environment(broker, control):
    host, port = "127.0.0.1", str(broker.port)
    return dict(
        os.environ,
        AMQP_HOST=host,
        AMQP_PORT=port,
        AMQP_URL=f"amqp://guest:guest@{host}:{port}/%2F",
        COMPAT_BROKER=broker.name,
        COMPAT_CONTROL=control.address,
        COMPAT_TOOL=str(COMPAT / "broker"),
        PYTHONDONTWRITEBYTECODE="1",
    )

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
KAFKA_NEWEST, KAFKA_3 = "4.3.1", "3.9.2"


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


class Suite:
    """What is known of a suite before it runs."""

    def __init__(self, name, protocol, folder):
        self.name, self.protocol, self.source = name, protocol, COMPAT / folder

    def cwd(self):
        return self.source


class Python(Suite):
    """pytest on one file, in a virtual environment with pinned packages."""

    language, tools = "python", ("python3",)

    def __init__(self, name, protocol, folder, file, tools=()):
        super().__init__(name, protocol, folder)
        self.file, self.tools = file, self.tools + tools
        self.venv = WORK / f"venv-{folder}"

    def prepare(self):
        wanted = self.source / "requirements.txt"

        def install():
            shutil.rmtree(self.venv, ignore_errors=True)
            run([sys.executable, "-m", "venv", self.venv], COMPAT)
            run([self.venv / "bin" / "pip", "install", "--quiet", "-r", wanted], COMPAT)

        once(self.venv.with_suffix(".stamp"), fingerprint(wanted) + sys.version, install)

    def command(self, extra):
        return [self.venv / "bin" / "python", "-B", "-m", "pytest", "-q", "--no-header", "--tb=short",
                "--show-capture=no", "-p", "no:cacheprovider", "-p", "verdicts", self.source / self.file, *extra]


class Node(Suite):
    """A client for Node.js, installed from the lock file into a copy of the suite."""

    language, tools = "node", ("node", "npm")

    def cwd(self):
        return WORK / self.source.name

    def prepare(self):
        copy = self.cwd()
        copy.mkdir(parents=True, exist_ok=True)
        for file in self.source.iterdir():
            shutil.copy(file, copy / file.name)
        lock = self.source / "package-lock.json"
        once(copy.with_suffix(".stamp"), fingerprint(lock), lambda: run(["npm", "ci", "--silent"], copy))

    def command(self, extra):
        return ["node", "suite.mjs", *extra]


class Java(Suite):
    """A client for the JVM, through Maven, in a copy of the suite."""

    language, tools = "java", ("java", "javac", "mvn")

    def __init__(self, name, protocol, folder, kafka=None):
        super().__init__(name, protocol, folder)
        self.kafka = kafka

    def cwd(self):
        return WORK / (self.source.name + (f"-{self.kafka}" if self.kafka else ""))

    def jars(self):
        return self.cwd() / "target" / "dependency"

    def prepare(self):
        copy = self.cwd()
        sources = [file for file in sorted(self.source.rglob("*")) if file.is_file()]
        version = [f"-Dkafka.version={self.kafka}"] if self.kafka else []

        def build():
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(self.source, copy)
            run(["mvn", "-q", "-B", *version, "package"], copy)

        once(WORK / (copy.name + ".stamp"), fingerprint(*sources), build)

    def command(self, extra):
        classes = f"{self.cwd()}/target/classes:{self.jars()}/*"
        return ["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", classes, "compat.Suite", *extra]


class Go(Suite):
    """A client for Go, built outside the source tree."""

    language, tools = "go", ("go",)

    def prepare(self):
        run(["go", "build", "-mod=readonly", "-o", self._binary(), "."], self.cwd())

    def command(self, extra):
        return [self._binary(), *extra]

    def _binary(self):
        return WORK / f"{self.source.name}-suite"


ALL = [
    Python("tutorials", "amqp", "python", "test_tutorials.py"),
    Python("pika", "amqp", "python", "test_pika.py"),
    Python("pika-messages", "amqp", "python", "test_pika_messages.py"),
    Python("pika-wire", "amqp", "python", "test_pika_wire.py"),
    Python("pika-queues", "amqp", "python", "test_pika_queues.py"),
    Python("pika-streams", "amqp", "python", "test_pika_streams.py"),
    Python("pika-restart", "amqp", "python", "test_pika_restart.py"),
    Python("aio-pika", "amqp", "python", "test_aio_pika.py"),
    Python("celery", "amqp", "python", "test_celery.py"),
    Node("node", "amqp", "node"),
    Java("java", "amqp", "java"),
    Go("go", "amqp", "go"),
    Python("kcat", "kafka", "python-kafka", "test_kcat.py", tools=("kcat",)),
    Python("confluent", "kafka", "python-kafka", "test_confluent.py"),
    Python("kafka-python", "kafka", "python-kafka", "test_kafka_python.py"),
    Python("kafka-pitfalls", "kafka", "python-kafka", "test_kafka_pitfalls.py"),
    Python("streams", "both", "python-kafka", "test_streams.py"),
    Node("kafkajs", "kafka", "node-kafka"),
    Go("franz-go", "kafka", "go-kafka"),
    Java("kafka-java-4", "kafka", "java-kafka", kafka=KAFKA_NEWEST),
    Java("kafka-java-3", "kafka", "java-kafka", kafka=KAFKA_3),
]


def kafka_jars():
    """Where the jars of the newest Kafka are: the suite of its Java clients has the broker's too."""
    suite = Java("kafka", "kafka", "java-kafka", kafka=KAFKA_NEWEST)
    suite.prepare()
    return suite.jars()


def chosen(names, kind):
    """Suites by their name, language or protocol, that are of use with this kind of broker.

    Without names these are all of them.
    """
    known = {word for suite in ALL for word in words(suite)}
    unknown = sorted(set(names) - known)
    if unknown:
        sys.exit(f"no such suite: {', '.join(unknown)}; there are: {', '.join(sorted(known))}")
    measured = {"rabbitmq": ["amqp"], "kafka": ["kafka"]}.get(kind, ["amqp", "kafka", "both"])
    return [suite for suite in ALL if suite.protocol in measured and (not names or words(suite) & set(names))]


def words(suite):
    return {suite.name, suite.language, suite.protocol}


def missing(suite):
    return [tool for tool in suite.tools if shutil.which(tool) is None]


def environment(broker, control):
    host, port = "127.0.0.1", str(broker.port)
    return dict(
        os.environ,
        AMQP_HOST=host,
        AMQP_PORT=port,
        AMQP_URL=f"amqp://guest:guest@{host}:{port}/%2F",
        KAFKA_BOOTSTRAP=f"{host}:{broker.kafka_port}",
        # Where SASL is spoken; in Apache Kafka it needs a listener of its own.
        KAFKA_SASL_BOOTSTRAP=f"{host}:{port if broker.name == 'kafka' else broker.kafka_port}",
        COMPAT_BROKER=broker.name,
        COMPAT_CONTROL=control.address,
        COMPAT_TOOL=str(COMPAT / "broker"),
        PYTHONDONTWRITEBYTECODE="1",
        PYTHONPATH=str(COMPAT / "python-common"),
    )

"""The broker under test, as a child process on free ports of 127.0.0.1.

All kinds answer to the same verbs: start, stop (SIGTERM, waits for the end), crash (SIGKILL).
The ports and the data directory stay the same over restarts.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

from . import suites

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 45


class BrokerError(Exception):
    """The broker did not do what was asked; the text says what its log shows."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """One broker process; subclasses say how it is started and how it says that it is ready."""

    name = "?"
    ready = re.compile("$.")

    def __init__(self, log_path):
        self.port, self.kafka_port = free_port(), free_port()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="compat-broker-"))
        self.log_path = pathlib.Path(log_path)
        self.log_path.write_bytes(b"")
        self.process = None
        self._is_ready = None
        self._reader = None

    def start(self):
        if self.process is not None:
            return
        self._is_ready = threading.Event()
        self.process = subprocess.Popen(
            self.command(),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read_log, args=(self.process.stdout, self._is_ready))
        self._reader.daemon = True
        self._reader.start()
        came = self._is_ready.wait(START_TIMEOUT_S)
        if not came or not self.listening:
            code = self.process.poll()
            self.crash()
            how = "did not become ready" if code is None else f"ended with status {code}"
            raise BrokerError(f"{self.name} {how}; its last words:\n{self.tail()}")

    def stop(self):
        """SIGTERM, and the exit status."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.crash()
            raise BrokerError(f"{self.name} did not end within {STOP_TIMEOUT_S} s of SIGTERM") from None
        self._ended()
        return status

    def crash(self):
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self._ended()

    def close(self):
        self.crash()
        shutil.rmtree(self.dir, ignore_errors=True)

    def tail(self, lines=30):
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def _ended(self):
        self.process = None
        self._reader.join(5)

    def _read_log(self, stream, is_ready):
        self.listening = False
        with open(self.log_path, "ab", buffering=0) as log:
            for line in stream:
                log.write(line)
                if self.ready.search(line.decode(errors="replace")):
                    self.listening = True
                    is_ready.set()
        is_ready.set()

    def command(self):
        raise NotImplementedError

    def environment(self):
        return dict(os.environ)


class Yam(Broker):
    """`yam serve` on a data directory of its own."""

    name = "yam"

    def __init__(self, log_path, binary, protocol):
        super().__init__(log_path)
        self.binary = str(binary)
        self.kafka = protocol != "amqp"
        # The last line of those that tell of listeners.
        self.ready = re.compile("kafka listening on " if self.kafka else "amqp listening on ")

    def command(self):
        data, listen = str(self.dir / "data"), f"127.0.0.1:{self.port}"
        kafka = f"127.0.0.1:{self.kafka_port}" if self.kafka else "none"
        return [self.binary, "serve", "--data-dir", data, "--amqp-listen", listen, "--kafka-listen", kafka,
                "--group-initial-rebalance-delay-ms", "0"]


class RabbitMq(Broker):
    """Debian's rabbitmq-server with node name, directories and epmd of its own."""

    name = "rabbitmq"
    ready = re.compile(r"Server startup complete")
    home = pathlib.Path("/usr/lib/rabbitmq")

    def __init__(self, log_path):
        super().__init__(log_path)
        self.epmd_port = free_port()
        self.dist_port = free_port()
        (self.dir / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            # The default of RabbitMQ 4, which Yam follows.
            "max_message_size = 16777216\n"
            "log.console = true\nlog.console.level = info\nlog.file = false\n"
        )
        (self.dir / "enabled_plugins").write_text("[].\n")
        self.epmd = subprocess.Popen(
            ["epmd", "-address", "127.0.0.1", "-port", str(self.epmd_port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def command(self):
        return [str(self.home / "bin" / "rabbitmq-server")]

    def environment(self):
        return dict(
            os.environ,
            HOME=str(self.dir),
            ERL_EPMD_ADDRESS="127.0.0.1",
            ERL_EPMD_PORT=str(self.epmd_port),
            RABBITMQ_NODENAME=f"compat{self.port}@localhost",
            RABBITMQ_DIST_PORT=str(self.dist_port),
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}",
            RABBITMQ_CONFIG_FILE=str(self.dir / "rabbitmq"),
            RABBITMQ_CONF_ENV_FILE=str(self.dir / "no-env.conf"),
            RABBITMQ_ENABLED_PLUGINS_FILE=str(self.dir / "enabled_plugins"),
            RABBITMQ_MNESIA_BASE=str(self.dir / "mnesia"),
            RABBITMQ_LOG_BASE=str(self.dir / "log"),
            RABBITMQ_PID_FILE=str(self.dir / "pid"),
            RABBITMQ_LOGS="-",
        )

    def close(self):
        super().close()
        self.epmd.kill()
        self.epmd.wait()


class Kafka(Broker):
    """Apache Kafka from its jars: broker and controller in one process (KRaft), nothing replicated."""

    name = "kafka"
    ready = re.compile(r"Kafka Server started")

    def __init__(self, log_path, jars):
        super().__init__(log_path)
        self.classes = f"{jars}/*"
        controller = free_port()
        self.properties = self.dir / "server.properties"
        self.properties.write_text(
            "process.roles=broker,controller\n"
            "node.id=1\n"
            f"controller.quorum.voters=1@127.0.0.1:{controller}\n"
            f"listeners=CLIENTS://127.0.0.1:{self.kafka_port},SASL://127.0.0.1:{self.port},"
            f"CONTROLLER://127.0.0.1:{controller}\n"
            "listener.security.protocol.map=CLIENTS:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT\n"
            "inter.broker.listener.name=CLIENTS\n"
            "controller.listener.names=CONTROLLER\n"
            "sasl.enabled.mechanisms=PLAIN\n"
            "listener.name.sasl.plain.sasl.jaas.config="
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_guest=\"guest\";\n"
            f"log.dirs={self.dir}/data\n"
            "offsets.topic.replication.factor=1\n"
            "offsets.topic.num.partitions=1\n"
            "transaction.state.log.replication.factor=1\n"
            "transaction.state.log.min.isr=1\n"
            "transaction.state.log.num.partitions=1\n"
            "group.initial.rebalance.delay.ms=0\n"
            "transaction.abort.timed.out.transaction.cleanup.interval.ms=500\n"
            # Tests of retention and compaction need not wait for minutes.
            "log.retention.check.interval.ms=500\n"
            "log.cleaner.backoff.ms=200\n"
            "log.initial.task.delay.ms=200\n"
        )
        format_ = ["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", self.properties]
        done = subprocess.run(self._java(*format_), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise BrokerError(f"kafka could not format its storage:\n{done.stdout.decode(errors='replace')}")

    def _java(self, *arguments):
        flags = ["-XX:TieredStopAtLevel=1", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=info"]
        return ["java", *flags, "-cp", self.classes, *map(str, arguments)]

    def command(self):
        return self._java("kafka.Kafka", self.properties)


def make(kind, suite, log_path, binary):
    if kind == "rabbitmq":
        return RabbitMq(log_path)
    if kind == "kafka":
        return Kafka(log_path, suites.kafka_jars())
    return Yam(log_path, binary, suite.protocol)

"""The broker under test, as a child process on a free port of 127.0.0.1.

Both kinds answer to the same verbs: start, stop (SIGTERM, waits for the end), crash (SIGKILL).
The port and the data directory stay the same over restarts.
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
        self.port = free_port()
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
    ready = re.compile(r"amqp listening on ")

    def __init__(self, log_path, binary):
        super().__init__(log_path)
        self.binary = str(binary)

    def command(self):
        data, listen = str(self.dir / "data"), f"127.0.0.1:{self.port}"
        return [self.binary, "serve", "--data-dir", data, "--amqp-listen", listen, "--kafka-listen", "none"]


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


def make(kind, log_path, binary):
    if kind == "rabbitmq":
        return RabbitMq(log_path)
    return Yam(log_path, binary)

"""The door through which a suite restarts its broker while it runs.

One line in, one line out, on 127.0.0.1 at $COMPAT_CONTROL: `stop`, `start`, `restart`, `crash`
(SIGKILL and start again). The answer is `ok` once it is done, or `error: ...`. `compat/broker`
is the client for suites that would rather run a program.
"""

import socketserver
import threading

from . import brokers

VERBS = {
    "start": lambda broker: broker.start(),
    "stop": lambda broker: broker.stop(),
    "restart": lambda broker: (broker.stop(), broker.start()),
    "crash": lambda broker: (broker.crash(), broker.start()),
}


class Control:
    """Serves the verbs for one broker until it is closed; requests are handled one at a time."""

    def __init__(self, broker):
        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                verb = self.rfile.readline().decode().strip()
                self.wfile.write(answer(broker, verb).encode() + b"\n")

        self._server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
        self.address = "127.0.0.1:%d" % self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def answer(broker, verb):
    if verb not in VERBS:
        return f"error: no such verb: {verb}"
    try:
        VERBS[verb](broker)
        return "ok"
    except brokers.BrokerError as error:
        return "error: " + str(error).replace("\n", " | ")

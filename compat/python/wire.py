"""AMQP frames over a plain socket, for what a client library would not let a test do.

The methods and frames are pika's own encoders; the socket and the order are the test's.
"""

import socket
import struct
import time

import pika
from conftest import HOST, PATIENCE_S, PORT
from pika import frame, spec

CAPABILITIES = {
    "publisher_confirms": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "authentication_failure_close": True,
    "connection.blocked": True,
}


class Closed(Exception):
    """The broker shut the socket."""


class Wire:
    def __init__(self):
        self.socket = socket.create_connection((HOST, PORT), timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- sending

    def raw(self, data):
        self.socket.sendall(data)

    def send(self, channel, method):
        self.raw(frame.Method(channel, method).marshal())

    def header(self, channel, size, properties=None):
        self.raw(frame.Header(channel, size, properties or pika.BasicProperties()).marshal())

    def body(self, channel, data):
        self.raw(frame.Body(channel, data).marshal())

    def frame(self, kind, channel, payload, end=b"\xce", size=None):
        self.raw(struct.pack(">BHI", kind, channel, len(payload) if size is None else size) + payload + end)

    def publish(self, channel, exchange, key, data=b"", properties=None):
        """One write, as most clients do it."""
        parts = [
            frame.Method(channel, spec.Basic.Publish(exchange=exchange, routing_key=key)).marshal(),
            frame.Header(channel, len(data), properties or pika.BasicProperties()).marshal(),
        ]
        if data:
            parts.append(frame.Body(channel, data).marshal())
        self.raw(b"".join(parts))

    # ---- receiving

    def receive(self):
        """The next frame that is not a heartbeat."""
        while True:
            got = self.any_frame()
            if not isinstance(got, frame.Heartbeat):
                return got

    def any_frame(self):
        while True:
            used, got = frame.decode_frame(self.buffer)
            if got is not None:
                self.buffer = self.buffer[used:]
                return got
            self._read()

    def raw_frame(self):
        """The next frame as kind, channel and payload, undecoded."""
        while len(self.buffer) < 7 or len(self.buffer) < 8 + struct.unpack(">I", self.buffer[3:7])[0]:
            self._read()
        kind, channel, size = struct.unpack(">BHI", self.buffer[:7])
        payload, end = self.buffer[7 : 7 + size], self.buffer[7 + size]
        assert end == 0xCE
        self.buffer = self.buffer[8 + size :]
        return kind, channel, payload

    def _read(self):
        try:
            data = self.socket.recv(65_536)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed
        self.buffer += data

    def expect(self, method):
        """The next frame, which is that method."""
        got = self.receive()
        assert isinstance(got, frame.Method) and isinstance(got.method, method), got
        return got.method

    def is_shut(self):
        """Reads until the broker shuts the socket, whatever it still sends."""
        end = time.monotonic() + PATIENCE_S
        self.buffer = b""
        while time.monotonic() < end:
            try:
                self._read()
            except Closed:
                return True
        return False

    # ---- conversations

    def start(self):
        self.raw(b"AMQP\x00\x00\x09\x01")
        return self.expect(spec.Connection.Start)

    def login(self, user="guest", password="guest", capabilities=CAPABILITIES):
        response = f"\0{user}\0{password}".encode()
        properties = {"product": "wire", "capabilities": capabilities}
        self.send(0, spec.Connection.StartOk(properties, "PLAIN", response, "en_US"))

    def tune(self, channel_max=2_047, frame_max=131_072, heartbeat=0, vhost="/"):
        self.send(0, spec.Connection.TuneOk(channel_max, frame_max, heartbeat))
        self.send(0, spec.Connection.Open(vhost))

    def open(self, channels=1, **tuning):
        """The whole handshake, and channels 1 .. n."""
        self.start()
        self.login()
        self.expect(spec.Connection.Tune)
        self.tune(**tuning)
        self.expect(spec.Connection.OpenOk)
        for channel in range(1, channels + 1):
            self.send(channel, spec.Channel.Open())
            self.expect(spec.Channel.OpenOk)
        return self

    def queue(self, channel=1, name="", **options):
        options = {"exclusive": True, **options}
        self.send(channel, spec.Queue.Declare(queue=name, **options))
        return self.expect(spec.Queue.DeclareOk).queue

    def refused(self, *codes, method=None, or_shut=False):
        """connection.close with one of the codes, the close handshake, and the socket shut.

        With `or_shut` the broker may as well shut the socket without a word.
        """
        try:
            while True:
                got = self.receive()
                if isinstance(got, frame.Method) and isinstance(got.method, spec.Connection.Close):
                    break
        except Closed:
            assert or_shut, "shut without connection.close"
            return ""
        close = got.method
        assert close.reply_code in codes, (close.reply_code, close.reply_text)
        if method is not None:
            assert (close.class_id, close.method_id) == method, (close.class_id, close.method_id)
        self.send(0, spec.Connection.CloseOk())
        assert self.is_shut()
        return close.reply_text

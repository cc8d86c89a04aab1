"""Writes a log line with a severity.   python direct_emit.py [SEVERITY [TEXT]]"""

import os
import sys

import pika

severity = sys.argv[1] if len(sys.argv) > 1 else "info"
text = " ".join(sys.argv[2:]) or "all is well"

connection = pika.BlockingConnection(
    pika.ConnectionParameters(os.environ.get("AMQP_HOST", "localhost"), int(os.environ.get("AMQP_PORT", "5672")))
)
channel = connection.channel()
channel.exchange_declare(exchange="logs_by_severity", exchange_type="direct")
channel.basic_publish(exchange="logs_by_severity", routing_key=severity, body=text)
print(f"sent: {severity}: {text}")

connection.close()

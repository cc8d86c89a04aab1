"""Tells everybody who listens.   python fanout_emit.py [TEXT]"""

import os
import sys

import pika

text = " ".join(sys.argv[1:]) or "the kettle is on"

connection = pika.BlockingConnection(
    pika.ConnectionParameters(os.environ.get("AMQP_HOST", "localhost"), int(os.environ.get("AMQP_PORT", "5672")))
)
channel = connection.channel()
channel.exchange_declare(exchange="news", exchange_type="fanout")
channel.basic_publish(exchange="news", routing_key="", body=text)
print(f"sent: {text}")

connection.close()

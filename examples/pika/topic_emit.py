"""Reports a measurement under a key such as kitchen.fridge.temperature.   python topic_emit.py [KEY [TEXT]]"""

import os
import sys

import pika

key = sys.argv[1] if len(sys.argv) > 1 else "kitchen.fridge.temperature"
text = " ".join(sys.argv[2:]) or "4.5"

connection = pika.BlockingConnection(
    pika.ConnectionParameters(os.environ.get("AMQP_HOST", "localhost"), int(os.environ.get("AMQP_PORT", "5672")))
)
channel = connection.channel()
channel.exchange_declare(exchange="measurements", exchange_type="topic")
channel.basic_publish(exchange="measurements", routing_key=key, body=text)
print(f"sent: {key}: {text}")

connection.close()

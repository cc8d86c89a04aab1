"""Puts one message into the queue "hello".   python hello_send.py [TEXT]"""

import os
import sys

import pika

text = " ".join(sys.argv[1:]) or "Hello, world!"

connection = pika.BlockingConnection(
    pika.ConnectionParameters(os.environ.get("AMQP_HOST", "localhost"), int(os.environ.get("AMQP_PORT", "5672")))
)
channel = connection.channel()

# Whoever comes first makes the queue; to declare it again does nothing.
channel.queue_declare(queue="hello")
channel.basic_publish(exchange="", routing_key="hello", body=text)
print(f"sent: {text}")

connection.close()

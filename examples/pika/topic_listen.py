"""Prints measurements whose key fits a pattern, until Ctrl-C.   python topic_listen.py "kitchen.#" "*.*.temperature"

In a pattern * stands for exactly one word and # for any number of words, none too.
"""

import os
import sys

import pika

patterns = sys.argv[1:]
if not patterns:
    sys.exit("usage: topic_listen.py PATTERN ...")

connection = pika.BlockingConnection(
    pika.ConnectionParameters(os.environ.get("AMQP_HOST", "localhost"), int(os.environ.get("AMQP_PORT", "5672")))
)
channel = connection.channel()
channel.exchange_declare(exchange="measurements", exchange_type="topic")
queue = channel.queue_declare(queue="", exclusive=True).method.queue
for pattern in patterns:
    channel.queue_bind(exchange="measurements", queue=queue, routing_key=pattern)


def on_message(channel, method, properties, body):
    print(f"{method.routing_key}: {body.decode()}", flush=True)


channel.basic_consume(queue=queue, on_message_callback=on_message, auto_ack=True)
print("waiting; Ctrl-C ends", flush=True)
try:
    channel.start_consuming()
except KeyboardInterrupt:
    connection.close()

"""Prints log lines of the severities named, until Ctrl-C.   python direct_listen.py error warning"""

import os
import sys

import pika

severities = sys.argv[1:]
if not severities:
    sys.exit("usage: direct_listen.py SEVERITY ...")

connection = pika.BlockingConnection(
    pika.ConnectionParameters(os.environ.get("AMQP_HOST", "localhost"), int(os.environ.get("AMQP_PORT", "5672")))
)
channel = connection.channel()
channel.exchange_declare(exchange="logs_by_severity", exchange_type="direct")
queue = channel.queue_declare(queue="", exclusive=True).method.queue

# One binding per severity: the routing key has to be equal to the binding's.
for severity in severities:
    channel.queue_bind(exchange="logs_by_severity", queue=queue, routing_key=severity)


def on_message(channel, method, properties, body):
    print(f"{method.routing_key}: {body.decode()}", flush=True)


channel.basic_consume(queue=queue, on_message_callback=on_message, auto_ack=True)
print("waiting; Ctrl-C ends", flush=True)
try:
    channel.start_consuming()
except KeyboardInterrupt:
    connection.close()

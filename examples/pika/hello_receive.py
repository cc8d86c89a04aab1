"""Prints what arrives in the queue "hello", until Ctrl-C.   python hello_receive.py"""

import os

import pika

connection = pika.BlockingConnection(
    pika.ConnectionParameters(os.environ.get("AMQP_HOST", "localhost"), int(os.environ.get("AMQP_PORT", "5672")))
)
channel = connection.channel()
channel.queue_declare(queue="hello")


def on_message(channel, method, properties, body):
    print(f"received: {body.decode()}", flush=True)


channel.basic_consume(queue="hello", on_message_callback=on_message, auto_ack=True)
print("waiting; Ctrl-C ends", flush=True)
try:
    channel.start_consuming()
except KeyboardInterrupt:
    connection.close()

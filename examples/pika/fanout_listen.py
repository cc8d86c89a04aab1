"""Prints all news from now on, until Ctrl-C.   python fanout_listen.py"""

import os

import pika

connection = pika.BlockingConnection(
    pika.ConnectionParameters(os.environ.get("AMQP_HOST", "localhost"), int(os.environ.get("AMQP_PORT", "5672")))
)
channel = connection.channel()
channel.exchange_declare(exchange="news", exchange_type="fanout")

# A queue of our own: the broker picks its name, and it goes when this connection goes.
queue = channel.queue_declare(queue="", exclusive=True).method.queue
channel.queue_bind(exchange="news", queue=queue)


def on_message(channel, method, properties, body):
    print(f"news: {body.decode()}", flush=True)


channel.basic_consume(queue=queue, on_message_callback=on_message, auto_ack=True)
print("waiting; Ctrl-C ends", flush=True)
try:
    channel.start_consuming()
except KeyboardInterrupt:
    connection.close()

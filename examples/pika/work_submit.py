"""Hands tasks to the workers; every dot is a piece of work.   python work_submit.py "tidy up.." "wash..." """

import os
import sys

import pika

connection = pika.BlockingConnection(
    pika.ConnectionParameters(os.environ.get("AMQP_HOST", "localhost"), int(os.environ.get("AMQP_PORT", "5672")))
)
channel = connection.channel()

# A durable queue and persistent messages outlive a restart of the broker, and with confirms
# basic_publish returns when the broker has the task safely.
channel.queue_declare(queue="tasks", durable=True)
channel.confirm_delivery()

for task in sys.argv[1:] or ["one task..."]:
    channel.basic_publish(
        exchange="",
        routing_key="tasks",
        body=task,
        properties=pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent),
    )
    print(f"submitted: {task}")

connection.close()

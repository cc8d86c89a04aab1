"""Works on tasks, one at a time, until Ctrl-C; start as many as you like.   python work_do.py"""

import os
import time

import pika

connection = pika.BlockingConnection(
    pika.ConnectionParameters(os.environ.get("AMQP_HOST", "localhost"), int(os.environ.get("AMQP_PORT", "5672")))
)
channel = connection.channel()
channel.queue_declare(queue="tasks", durable=True)


def on_task(channel, method, properties, body):
    task = body.decode()
    print(f"doing: {task}", flush=True)
    time.sleep(task.count(".") * 0.1)
    # Only now is the task off the queue; if this program dies before, another worker gets it.
    channel.basic_ack(delivery_tag=method.delivery_tag)
    print(f"done: {task}", flush=True)


# No second task before the first is acknowledged: the next one goes to whoever is free.
channel.basic_qos(prefetch_count=1)
channel.basic_consume(queue="tasks", on_message_callback=on_task)
print("waiting; Ctrl-C ends", flush=True)
try:
    channel.start_consuming()
except KeyboardInterrupt:
    connection.close()

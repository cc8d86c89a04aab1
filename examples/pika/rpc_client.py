"""Asks the server for Fibonacci numbers and waits for the answers.   python rpc_client.py [N ...]"""

import os
import sys
import uuid

import pika


class Caller:
    """Sends questions to a queue and finds the answers in a queue of its own."""

    def __init__(self, connection):
        self.connection = connection
        self.channel = connection.channel()
        self.answers = {}
        self.reply_queue = self.channel.queue_declare(queue="", exclusive=True).method.queue
        self.channel.basic_consume(
            queue=self.reply_queue, on_message_callback=self.on_answer, auto_ack=True
        )

    def on_answer(self, channel, method, properties, body):
        self.answers[properties.correlation_id] = body

    def call(self, question):
        correlation_id = str(uuid.uuid4())
        self.channel.basic_publish(
            exchange="",
            routing_key="fibonacci",
            properties=pika.BasicProperties(reply_to=self.reply_queue, correlation_id=correlation_id),
            body=str(question),
        )
        while correlation_id not in self.answers:
            self.connection.process_data_events(time_limit=None)
        return self.answers.pop(correlation_id).decode()


connection = pika.BlockingConnection(
    pika.ConnectionParameters(os.environ.get("AMQP_HOST", "localhost"), int(os.environ.get("AMQP_PORT", "5672")))
)
# The queue is declared here too, so that a question waits for a server that starts later.
connection.channel().queue_declare(queue="fibonacci")
caller = Caller(connection)
for n in sys.argv[1:] or ["30"]:
    print(f"fibonacci({n}) = {caller.call(n)}", flush=True)

connection.close()

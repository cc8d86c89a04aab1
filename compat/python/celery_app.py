"""The Celery application of test_celery.py: nothing in it knows which broker it talks to."""

import os

from celery import Celery

app = Celery("compat", broker=os.environ["AMQP_URL"], backend="rpc://")
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_connection_timeout=5,
    result_expires=600,
    task_acks_late=True,
    task_publish_retry=True,
    worker_prefetch_multiplier=4,
    task_queue_max_priority=10,
    task_default_queue=os.environ.get("CELERY_QUEUE", "celery"),
)

#: What failed how often, in the memory of the worker, which is one process.
ATTEMPTS = {}


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=5)
def flaky(self, name, failures):
    """Fails so many times, then tells how often it was tried."""
    ATTEMPTS[name] = ATTEMPTS.get(name, 0) + 1
    if ATTEMPTS[name] <= failures:
        raise self.retry(countdown=0.2)
    return ATTEMPTS[name]


@app.task
def wrong():
    raise ValueError("on purpose")


@app.task
def echo(payload):
    return payload

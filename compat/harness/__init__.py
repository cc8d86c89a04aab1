"""What `compat/run` is made of.

brokers   start, stop and kill the broker under test (Yam, or RabbitMQ as the measure)
control   the door through which a suite asks for a restart while it runs
suites    the list of suites: what each needs and how it is run
report    one line per test, per suite, and the sum
"""

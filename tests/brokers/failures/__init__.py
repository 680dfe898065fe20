"""
RabbitMQ's bad days, on a real one.

Each test asserts the same: one line in the log says what and what to do, nothing is
lost, it goes on without a restart, and no password is told.
"""

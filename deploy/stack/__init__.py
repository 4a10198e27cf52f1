"""The local stack: real servers and Penstock's own processes on one machine, from one command.

`postgres`, `valkey` and `rabbitmq` each hold one server class with the same life: `start()` returns when the
server answers, `stop()` and `kill()` end it, `url` is how to reach it. The tests and the benchmark use them too.
"""

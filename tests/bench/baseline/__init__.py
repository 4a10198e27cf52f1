"""What Penstock is measured against: a hand-built stack, and plain Celery with a result backend.

The hand-built stack comes twice. `api` is written as the tutorials write it, with every pool at its default.
`tuned` is the same design after a day of tuning: no `refresh`, pools as large as the thread pool. Both are spared
authentication, idempotency keys and the check of the payload against the task.
"""

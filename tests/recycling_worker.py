"""`python -m tests.recycling_worker`: a worker that replaces each process of its pool after two tasks."""

from tasks.app import celery_app
from worker.app import run

celery_app.conf.worker_max_tasks_per_child = 2
run()

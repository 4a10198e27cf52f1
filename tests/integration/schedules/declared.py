"""A module of tasks that declares a schedule, as people write it."""

from celery import current_app, shared_task


@shared_task(name="test.tick")
def tick(word: str) -> str:
    return word


current_app.conf.beat_schedule = {
    "tick": {"task": "test.tick", "schedule": 1.0, "args": ("tock",), "options": {"priority": 8}},
}

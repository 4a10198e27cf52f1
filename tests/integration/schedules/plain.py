"""A Celery app of somebody's own, which knows nothing of Penstock, with one entry."""

from celery import Celery

app = Celery("plain")


@app.task(name="plain.tick")
def tick(word: str) -> str:
    return word


app.conf.beat_schedule = {"plain-tick": {"task": "plain.tick", "schedule": 1.0, "args": ("tock",)}}

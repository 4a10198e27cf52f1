"""Celery's `beat_schedule` is understood as Celery means it, or refused with the entry's name and the reason."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from celery.schedules import crontab, schedule

from jobs.calendar.instants import next_instants
from jobs.errors import ConfigurationError
from jobs.planning.model import Definition
from schedules.code import declarations
from tasks.app import build, celery_app
from tasks.settings import TaskSettings

SETTINGS = TaskSettings(queues=("default", "bulk"))
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def app() -> Iterator[Celery]:
    made = build(SETTINGS)

    @made.task(name="test.greet", queue="bulk", priority=7, shared=False)
    def greet(name: str, times: int = 1, *, loud: bool = False) -> None: ...

    yield made
    celery_app.set_current()


def declared(app: Celery, **entry: Any) -> Definition:
    """Return the definition of the one entry."""
    app.conf.beat_schedule = {"greeting": {"task": "test.greet", "schedule": 60, "args": ("you",)} | entry}
    ((make, origin),) = declarations(app, SETTINGS).values()
    assert origin == "beat_schedule['greeting']"
    return make(None, BEGIN)


def test_an_app_that_declares_nothing_has_nothing(app: Celery) -> None:
    assert declarations(app, SETTINGS) == {}


@pytest.mark.parametrize(
    "when", [90, 90.0, timedelta(seconds=90), schedule(90), schedule(timedelta(seconds=90))], ids=repr
)
def test_an_interval_is_an_interval(app: Celery, when: Any) -> None:
    assert declared(app, schedule=when).every_seconds == 90


@pytest.mark.parametrize(
    ("when", "cron"),
    [
        (crontab(), "* * * * *"),
        (crontab(minute="*/15"), "0,15,30,45 * * * *"),
        (crontab(minute=0, hour=[3, 15]), "0 3,15 * * *"),
        (crontab(minute="0", hour="22-2", day_of_week="fri-mon"), "0 0,1,2,22,23 * * 0,1,5,6"),
        (crontab(0, 0, day_of_month="1", month_of_year="*/3"), "0 0 1 1,4,7,10 *"),
        (crontab(0, 0, day_of_week="sunday"), "0 0 * * 0"),
        (crontab(0, 0, day_of_month="*/10", day_of_week="*"), "0 0 1,11,21,31 * *"),
    ],
)
def test_a_crontab_is_the_cron_that_celery_means(app: Celery, when: crontab, cron: str) -> None:
    definition = declared(app, schedule=when)

    assert (definition.cron, definition.zone) == (cron, "UTC")
    walls = [one.wall for one in next_instants(definition.rule, BEGIN, count=50)]
    for wall in walls:
        assert wall.minute in when.minute
        assert wall.hour in when.hour
        assert wall.day in when.day_of_month
        assert wall.month in when.month_of_year
        assert wall.isoweekday() % 7 in when.day_of_week


def test_arguments_become_the_payload_by_name(app: Celery) -> None:
    definition = declared(app, args=("you", 3), kwargs={"loud": True})

    assert definition.payload == '{"name":"you","times":3,"loud":true}'


def test_options_and_the_tasks_own_say_where_and_how(app: Celery) -> None:
    assert (declared(app).queue, declared(app).priority) == ("bulk", 7)

    options = {
        "queue": "default",
        "priority": 0,
        "expires": timedelta(minutes=5),
        "time_limit": 30,
        "soft_time_limit": 20,
    }
    chosen = declared(app, options=options)

    assert (chosen.queue, chosen.priority, chosen.expires_after_seconds) == ("default", 0, 300)
    assert (chosen.time_limit_seconds, chosen.soft_time_limit_seconds) == (30, 20)


class Fortnightly(schedule):
    """A kind of somebody's own, which only its own code can read."""


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no task": ({"task": None}, "it has no task"),
    "no schedule": ({"schedule": None}, "it has no schedule"),
    "a task that is no name": ({"task": 5}, "task is int"),
    "a schedule of True": ({"schedule": True}, "bool"),
    "no finite interval": ({"schedule": float("nan")}, "seconds"),
    "a priority of True": ({"options": {"priority": True}}, "priority True"),
    "options that are a list": ({"options": ["queue"]}, "options is list"),
    "args that are a text": ({"args": "you"}, "args is str"),
    "args that are a number": ({"args": 5}, "args is int"),
    "kwargs that are a list": ({"kwargs": ["name"]}, "kwargs is list"),
    "limits in the wrong order": (
        {"options": {"soft_time_limit": 10, "time_limit": 5}},
        "soft_time_limit 10 must be less than time_limit 5",
    ),
    "an expiry in no time": ({"options": {"expires": 1e-7}}, "expires"),
    "an unknown task": ({"task": "test.nobody"}, "No task is named 'test.nobody'"),
    "an unknown key": ({"retries": 3}, "retries"),
    "an unknown option": ({"options": {"countdown": 3}}, "countdown"),
    "an unknown queue": ({"options": {"queue": "nowhere"}}, "no queue 'nowhere'"),
    "a priority out of range": ({"options": {"priority": 10}}, "priority 10"),
    "an expiry at a date": ({"options": {"expires": datetime(2030, 1, 1, tzinfo=UTC)}}, "expires"),
    "a payload that does not fit": ({"args": (5,)}, "payload.name"),
    "a missing argument": ({"args": ()}, "payload.name"),
    "too many arguments": ({"args": ("you", 1, True)}, "2 positional"),
    "an argument twice": ({"kwargs": {"name": "me"}}, "name"),
    "an argument without a form": ({"kwargs": {"times": object()}}, "JSON"),
    "an interval under a second": ({"schedule": 0.5}, "seconds"),
    "an unknown kind": ({"schedule": Fortnightly(60)}, "Fortnightly"),
    "days that fit both": ({"schedule": crontab(0, 0, day_of_month="1-7", day_of_week="mon")}, "both"),
}


@pytest.mark.parametrize(("entry", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_kept_is_refused_with_the_entrys_name(app: Celery, entry: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        declared(app, **entry)

    assert str(caught.value).startswith("beat_schedule['greeting']: ")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("oops", "it is str"),
        (None, "it is NoneType"),
        ({}, "it has no task and no schedule"),
        ({"task": "x"}, "no schedule"),
    ],
    ids=["a text", "nothing", "an empty one", "half of one"],
)
def test_what_is_no_entry_is_refused_with_its_name(app: Celery, entry: Any, says: str) -> None:
    app.conf.beat_schedule = {"greeting": entry}

    with pytest.raises(ConfigurationError, match=r"^beat_schedule\['greeting'\]: ") as caught:
        declarations(app, SETTINGS)

    assert says in str(caught.value)


def test_what_is_no_beat_schedule_at_all_is_refused(app: Celery) -> None:
    app.conf.beat_schedule = ["greeting"]

    with pytest.raises(ConfigurationError, match="beat_schedule is list"):
        declarations(app, SETTINGS)


@pytest.mark.parametrize("name", ["every minute!", 5], ids=repr)
def test_a_name_that_no_address_can_hold_is_refused(app: Celery, name: Any) -> None:
    app.conf.beat_schedule = {name: {"task": "test.greet", "schedule": 60, "args": ("you",)}}

    with pytest.raises(ConfigurationError, match="letters, digits"):
        declarations(app, SETTINGS)


def test_what_was_added_as_a_periodic_task_is_declared_too(app: Celery) -> None:
    app.add_periodic_task(30.0, app.tasks["test.greet"].s("you"), name="greeting", queue="default")

    ((make, _),) = declarations(app, SETTINGS).values()
    definition = make(None, BEGIN)

    assert (definition.every_seconds, definition.queue, definition.payload) == (30, "default", '{"name":"you"}')

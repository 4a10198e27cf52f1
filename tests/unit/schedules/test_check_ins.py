"""The names and rhythms by which Sentry knows a schedule."""

import re
from dataclasses import replace
from typing import Any

import pytest

from jobs.planning.model import Definition
from schedules.check_ins import LONGEST_SLUG, _config, slug_of


def rhythm(**timing: Any) -> Any:
    config = _config(Definition(task="demo.noop", queue="default", **timing))
    return config and config["schedule"]


@pytest.mark.parametrize(
    ("timing", "told"),
    [
        ({"cron": "30 2 * * 1-5"}, {"type": "crontab", "value": "30 2 * * 1-5"}),
        ({"every_seconds": 300.0}, {"type": "interval", "value": 5, "unit": "minute"}),
        ({"cron": "0 30 2 * * *"}, None),
        ({"cron": "30 2 L * *"}, None),
        ({"every_seconds": 30.0}, None),
        ({"every_seconds": 90.0}, None),
        ({"once": "2030-01-01T00:00"}, None),
    ],
)
def test_a_rhythm_is_told_where_sentry_can_say_it(timing: dict[str, Any], told: Any) -> None:
    assert rhythm(**timing) == told


def test_the_jitter_is_part_of_the_margin() -> None:
    timing = Definition(task="demo.noop", queue="default", cron="0 2 * * *", zone="Europe/Berlin")

    assert _config(timing)["checkin_margin"] == 2
    assert _config(replace(timing, jitter_seconds=600.0))["checkin_margin"] == 12
    assert _config(timing)["timezone"] == "Europe/Berlin"


def test_every_schedule_has_a_name_of_its_own_that_sentry_takes() -> None:
    names = [("default", "nightly"), ("default", "Nightly"), ("acme", "nightly"), ("default", "night.ly")]
    names += [("default", "n" * 100), ("default", "n" * 99)]

    slugs = [slug_of(tenant, name) for tenant, name in names]

    assert slugs[0] == "nightly"
    assert len(set(slugs)) == len(names)
    assert all(re.fullmatch(rf"[a-z0-9_-]{{1,{LONGEST_SLUG}}}", slug) for slug in slugs)

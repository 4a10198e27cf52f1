"""The sentences of a rule say what its instants do."""

from datetime import UTC, datetime

import pytest

from jobs.calendar.cron import parse_cron
from jobs.calendar.instants import next_instants
from jobs.calendar.statement import clock_rules
from jobs.calendar.timing import Every, Once, OnFold, OnGap, Rule


@pytest.mark.parametrize("text", ["30 2 * * *", "*/30 2 * * *", "0 */2 * * *", "30 * * * *", "*/30 0-23 * * *"])
@pytest.mark.parametrize("on_gap", ["run", "skip"])
@pytest.mark.parametrize("on_fold", ["once", "both"])
def test_the_sentences_are_true(text: str, on_gap: OnGap, on_fold: OnFold) -> None:
    rule = Rule(parse_cron(text), "Europe/Berlin", on_gap=on_gap, on_fold=on_fold)
    gap, fold = clock_rules(rule)

    spring = next_instants(
        rule, datetime(2026, 3, 29, 0, 59, tzinfo=UTC), until=datetime(2026, 3, 29, 1, 1, tzinfo=UTC)
    )
    autumn = next_instants(
        rule, datetime(2026, 10, 24, 23, 59, tzinfo=UTC), until=datetime(2026, 10, 25, 2, tzinfo=UTC)
    )
    stands_in = any(one.mark == "gap" for one in spring)
    repeated = [one.wall for one in autumn if one.mark == "fold"]

    assert stands_in == ("run at the first" in gap)
    assert (len(repeated) > len(set(repeated))) == ("both times" in fold)


@pytest.mark.parametrize(
    "timing",
    [Every(60, datetime(2026, 1, 1, tzinfo=UTC)), Once(datetime(2026, 1, 1, tzinfo=UTC))],
    ids=["every", "once"],
)
def test_an_instant_that_no_clock_moves_is_said_to_be_one(timing: Every | Once) -> None:
    assert [sentence for sentence in clock_rules(Rule(timing)) if "do not move" in sentence]


def test_a_date_on_the_wall_is_under_the_rules() -> None:
    assert len(clock_rules(Rule(Once(datetime(2026, 1, 1))))) == 2

"""The clock rules that a rule is under, as sentences for people."""

from jobs.calendar.cron import Cron
from jobs.calendar.timing import Every, Once, Rule


def clock_rules(rule: Rule) -> tuple[str, ...]:
    """Return what the zone's clock changes mean for this rule; docs/explanation/clock-rules.md has the reasons."""
    timing = rule.timing
    if isinstance(timing, Every):
        return ("Intervals count elapsed time; changes of the clock do not move them.",)
    if isinstance(timing, Once) and timing.at.tzinfo is not None:
        return ("The instant was given with its offset; changes of the clock do not move it.",)
    return _gap(rule), _fold(rule)


def _gap(rule: Rule) -> str:
    if isinstance(rule.timing, Cron) and rule.timing.runs_every_hour:
        return "Times that the clock jumps over are not made up, because every hour matches."
    if rule.on_gap == "skip":
        return "Times that the clock jumps over do not run."
    return "Times that the clock jumps over run at the first time after them; several of one jump run once."


def _fold(rule: Rule) -> str:
    if isinstance(rule.timing, Cron) and rule.timing.follows_real_time:
        return "A time that the clock shows twice runs both times, because the minute or the hour begins with `*`."
    if rule.on_fold == "both":
        return "A time that the clock shows twice runs both times."
    return "A time that the clock shows twice runs once, the first time."

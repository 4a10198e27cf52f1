"""The bounds and durations of every alert are pinned: the cases of its edges fail when one of them is changed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.stack.home import ROOT
from tests.services.monitoring import programs, tried
from tests.services.rules import alerts

HERE: Final = ROOT / "deploy" / "prometheus"
EDGES: Final = sorted((HERE / "tests").glob("edges-*.yml"))

_BOUND: Final = re.compile(r"(?P<sign>==|[<>]) (?P<number>\d[\d.]*(?:e\d+)?)")
_OPERATOR: Final = re.compile(r" (?:and|or|unless)(?: on \([a-z, ]*\))? ")
_OTHER_SIGN: Final = {">": ">=", "==": "!=", "<": ">"}


def other_bounds(expr: str) -> Iterator[str]:
    """Yield the expression with each of its bounds halved, and doubled; a bound of zero has its sign changed."""
    for match in _BOUND.finditer(expr):
        sign, number = match["sign"], float(match["number"])
        changed = [f"{sign} {number / 2}", f"{sign} {number * 2}"] if number else [f"{_OTHER_SIGN[sign]} 0"]
        for one in changed:
            yield expr[: match.start()] + one + expr[match.end() :]


def depth(text: str) -> int:
    """Return how many brackets are open where the text ends."""
    return sum(text.count(bracket) for bracket in "([{") - sum(text.count(bracket) for bracket in ")]}")


def without_an_operand(expr: str) -> Iterator[str]:
    """Yield the expression without each operand of and, or and unless, and with zero for each summand in brackets."""
    operators = [match for match in _OPERATOR.finditer(expr) if depth(expr[: match.start()]) == 0]
    ends = [*(match.start() for match in operators), len(expr)]
    for match, end in zip(operators, ends[1:], strict=True):
        yield expr[: match.start()] + expr[end:]
    if operators:
        yield expr[operators[0].end() :]
    for match in re.finditer(r"(?:^|\+ )(\()", expr):
        start = match.start(1)
        end = next(at for at in range(start + 1, len(expr) + 1) if depth(expr[start:at]) == 0)
        yield expr[:start] + "vector(0)" + expr[end:]


def changed(rule: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rule with each single thing about it changed that its cases must notice."""
    for expr in (*other_bounds(rule["expr"]), *without_an_operand(rule["expr"])):
        yield rule | {"expr": expr}
    if "for" in rule:
        yield rule | {"for": "0s"}
        yield rule | {"for": f"{2 * int(rule['for'].removesuffix('m'))}m"}


def cases_of(rule: dict[str, Any], edges: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cases of an alert, which are named after it, or after it and how grave it is."""
    alert, severity = rule.get("alert"), rule.get("labels", {}).get("severity")
    return [case for case in edges["tests"] if case["name"].startswith((f"{alert}:", f"{alert}, {severity}:"))]


def write(folder: Path, edges: dict[str, Any], group: dict[str, Any], at: int, other: dict[str, Any]) -> Path:
    """Write the group with another rule in this place, and the cases of its alert; return the file with the cases."""
    folder.mkdir()
    rules = [other if place == at else rule for place, rule in enumerate(group["rules"])]
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [group | {"rules": rules}]}))
    chosen = edges | {"rule_files": ["rules.yml"], "tests": cases_of(other, edges)}
    (folder / "cases.yml").write_text(yaml.safe_dump(chosen))
    return folder / "cases.yml"


@pytest.mark.parametrize("file", EDGES, ids=lambda file: file.stem)
def test_the_cases_of_an_alert_fail_when_a_bound_an_operand_or_a_duration_of_it_is_changed(
    file: Path, tmp_path: Path
) -> None:
    edges = yaml.safe_load(file.read_text())
    (rules,) = edges["rule_files"]
    (group,) = yaml.safe_load((file.parent / rules).read_text())["groups"]
    cased = [(at, rule) for at, rule in enumerate(group["rules"]) if cases_of(rule, edges)]
    others = [(at, other) for at, rule in cased for other in changed(rule)]
    written = {write(tmp_path / str(index), edges, group, at, other): other for index, (at, other) in enumerate(others)}

    said = tried([programs().promtool, "test", "rules", *written])

    # A rule that cannot be read fails too, with other words: that would prove nothing.
    verdicts = dict(re.findall(r"Unit Testing:  (\S+)\n\s+(SUCCESS|FAILED:\n\s+expr: )", said))
    noticed = {cases for cases in written if verdicts.get(str(cases), "").startswith("FAILED")}
    assert [(one["alert"], one["expr"], one.get("for")) for cases, one in written.items() if cases not in noticed] == []
    assert written


def test_every_alert_has_cases_of_its_edges_and_those_of_service_levels_share_theirs() -> None:
    edges = [yaml.safe_load(file.read_text()) for file in EDGES]
    level = re.compile("availability|latency|freshness", re.IGNORECASE)
    shown = {
        (level.sub("", rule["alert"]), level.sub("", rule["expr"]), rule.get("for"))
        for rule in alerts()
        if any(cases_of(rule, one) for one in edges)
    }

    assert {(level.sub("", rule["alert"]), level.sub("", rule["expr"]), rule.get("for")) for rule in alerts()} == shown


def test_each_bound_and_each_operand_is_changed_once() -> None:
    expr = "(a or b) + (c) > 20 unless on (queue) d == 1"

    assert list(other_bounds(expr)) == [
        "(a or b) + (c) > 10.0 unless on (queue) d == 1",
        "(a or b) + (c) > 40.0 unless on (queue) d == 1",
        "(a or b) + (c) > 20 unless on (queue) d == 0.5",
        "(a or b) + (c) > 20 unless on (queue) d == 2.0",
    ]
    assert list(without_an_operand(expr)) == [
        "(a or b) + (c) > 20",
        "d == 1",
        "vector(0) + (c) > 20 unless on (queue) d == 1",
        "(a or b) + vector(0) > 20 unless on (queue) d == 1",
    ]

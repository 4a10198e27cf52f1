"""The table of fail-points is what the code has, and each of its actions is exercised on real processes."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.stack.home import ROOT
from jobs.points import MEANINGS, POINTS, Action
from tests.integration.failpoints.exercise import Exercise

PACKAGES = ("jobs", "tasks", "worker", "schedules", "api", "deploy")
OWN = {"jobs/points.py", "jobs/failpoints.py"}
#: Where a point's name comes in as an argument: it stands as a text where that function is called.
PASSED_ON = {"jobs/database.py", "worker/steps.py"}
EXERCISES = ROOT / "tests" / "integration" / "failpoints"


def calls(file: Path) -> Iterator[tuple[str, ast.expr]]:
    """Yield each `reached(...)` and `passed(...)` of a file with what it is given, and a COMMIT's name as both."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id in {"reached", "passed"}:
            yield node.func.id, node.args[0]
        for keyword in node.keywords:
            if node.func.id == "transaction" and keyword.arg == "commit":
                yield from (("reached", keyword.value), ("passed", keyword.value))
        if node.func.id == "_hand_over":
            yield from (("reached", node.args[-1]), ("passed", node.args[-1]))


def names(given: ast.expr) -> set[str]:
    """Return the points that an argument means: one, or for a text with a gap each that fits."""
    if isinstance(given, ast.Constant):
        return {str(given.value)}
    if isinstance(given, ast.JoinedStr):
        parts = [re.escape(str(p.value)) if isinstance(p, ast.Constant) else "[a-z_]+" for p in given.values]
        return {name for name in POINTS if re.fullmatch("".join(parts), name)}
    return set()


def in_code() -> dict[str, set[tuple[str, str]]]:
    """Return by `reached` and `passed` which points are there, each with its module."""
    found: dict[str, set[tuple[str, str]]] = {"reached": set(), "passed": set()}
    for file in (file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))):
        where = str(file.relative_to(ROOT))
        if where in OWN:
            continue
        for kind, given in calls(file):
            assert names(given) or where in PASSED_ON, f"{where}:{given.lineno} hides which point it is"
            found[kind] |= {(name, where) for name in names(given)}
    return found


def test_every_point_of_the_code_is_in_the_table_with_its_module_and_no_other_is() -> None:
    assert sorted(in_code()["reached"]) == sorted((name, point.where) for name, point in POINTS.items())


def test_a_point_can_be_cut_where_the_code_tells_that_the_step_has_happened() -> None:
    cut = {(name, point.where) for name, point in POINTS.items() if Action.CUT not in point.never}

    assert sorted(in_code()["passed"]) == sorted(cut)


def test_there_are_enough_of_them_to_look_for() -> None:
    assert len(POINTS) >= 25
    assert {name for name, _ in in_code()["reached"]} >= {"intake.commit", "upkeep.rescue.commit", "attempt.end"}


def test_whatever_is_left_out_has_a_reason() -> None:
    for point in POINTS.values():
        assert all(len(reason) > 10 for reason in point.never.values())
        assert Action.KILL not in point.never
    assert set(MEANINGS) == set(Action)


def exercised() -> set[tuple[str, Action]]:
    """Return what the tests are parametrised with."""
    found: set[tuple[str, Action]] = set()
    for file in sorted(EXERCISES.glob("test_*.py")):
        module = importlib.import_module(f"tests.integration.failpoints.{file.stem}")
        for test in (value for name, value in vars(module).items() if name.startswith("test_")):
            for mark in getattr(test, "pytestmark", []):
                found |= {pair for exercise in flat(mark.args[1:]) for pair in exercise.pairs}
    return found


def flat(given: Any) -> Iterator[Exercise]:
    """Yield the exercises among the values of a parametrisation."""
    if isinstance(given, Exercise):
        yield given
    elif isinstance(given, tuple | list):
        for one in given:
            yield from flat(one)


@pytest.mark.parametrize("name", sorted(POINTS))
def test_every_action_that_makes_sense_at_a_point_is_exercised(name: str) -> None:
    done = {action for point, action in exercised() if point == name}

    assert done == set(Action) - set(POINTS[name].never)

"""What the pages tell people to type exists: programs, options, targets, variables, routes, Python."""

import importlib
import pkgutil
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from fastapi import APIRouter
from fastapi.routing import APIRoute

import api.routes
from deploy.cli.main import app as command
from deploy.stack.home import ROOT
from tests.unit.docs.pages import blocks, name, pages, prose

CALL = re.compile(r"(?:^|[|(;&]|\bxargs(?: -\S+)*) *((?:[A-Z_]+=\S* )*(?:penstock|make) [^|;&)#\n]*)", re.MULTILINE)
INLINE = re.compile(r"`((?:penstock|make) [a-z][^`]*)`")
ROUTE = re.compile(r"\b(GET|POST|PUT|PATCH|DELETE) (/[\w/{}.-]*)")
OUR_OWN_VARIABLES = {"DETACH", "BROKER", "WORKERS", "DATABASE_URL", "BROKER_URL", "T"}
OUR_OWN_VARIABLES |= {"SEED", "MINUTES", "RATE", "FAULTS", "ONLY", "PLAN", "KEEP"}  # of `make chaos`
OUR_OWN_VARIABLES |= {"SECONDS", "PLANT"}  # of `make restore-drill`
OUR_OWN_VARIABLES |= {"STRICT", "PAGE"}  # of `make audit`

every_page = pytest.mark.parametrize("page", pages(), ids=name)


def calls(text: str) -> list[list[str]]:
    """Return the words of each call of `penstock` and of make on a page; a line that ends in a backslash goes on."""
    shown = "\n".join(block.text for block in blocks(text) if block.language in {"bash", "console", "sh"})
    shown = shown.replace("\\\n", " ").replace("\n$ ", "\n").removeprefix("$ ")
    found = [*CALL.findall(shown), *INLINE.findall(prose(text))]
    words = [shlex.split(call) for call in found]
    return [one[next(at for at, word in enumerate(one) if word in {"penstock", "make"}) :] for one in words]


@every_page
def test_every_command_and_option_of_penstock_exists(page: Path) -> None:
    wrong = [words for words in calls(page.read_text()) if words[0] == "penstock" and not exists(words[1:])]

    assert wrong == []


def exists(words: list[str]) -> bool:
    """Tell whether the command knows these words: its name, and each option of two dashes."""
    root: Any = typer.main.get_command(command)
    here = root
    while words and words[0] in getattr(here, "commands", {}):
        here, words = here.commands[words[0]], words[1:]
    if hasattr(here, "commands"):  # the name of a group of commands stands for all of it
        return here is not root and not words
    known = {option for parameter in here.params for option in parameter.opts} | {"--help"}
    wanted = {word.partition("=")[0] for word in words if word.startswith("--")}
    return wanted <= known or bool(here.context_settings.get("ignore_unknown_options"))


@every_page
def test_every_target_and_variable_of_make_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in calls(page.read_text()):
        if words[0] != "make":
            continue
        folder = words.index("-C") + 1 if "-C" in words else 0
        plain = [word for at, word in enumerate(words) if at not in {0, folder} and not word.startswith("-")]
        for word in plain:
            variable, is_variable, _ = word.partition("=")
            known = OUR_OWN_VARIABLES | settings_on_the_page() if is_variable else targets
            assert variable in known, " ".join(words)


@cache
def settings_on_the_page() -> set[str]:
    return set(re.findall(r"`([A-Z_]+)`", (ROOT / "docs" / "reference" / "settings.md").read_text()))


@every_page
def test_every_setting_that_a_page_names_exists(page: Path) -> None:
    assert set(re.findall(r"(?<![.\w])PENSTOCK_\w+", page.read_text())) <= settings_on_the_page()


@cache
def routes() -> frozenset[tuple[str, str]]:
    """Return the method and the shape of the path of every route."""
    modules = [
        importlib.import_module(f"api.routes.{module.name}") for module in pkgutil.iter_modules(api.routes.__path__)
    ]
    routers = [value for module in modules for value in vars(module).values() if isinstance(value, APIRouter)]
    found = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return frozenset((method, shape(route.path)) for route in found for method in route.methods or ())


def shape(path: str) -> str:
    """Return the path with every name of a part, and the names in examples, left out."""
    return re.sub(r"\{[^}]*\}|\bID\b|(?<=/schedules/)[\w-]+|(?<=/queues/)[\w-]+", "{}", path.rstrip("."))


@every_page
def test_every_route_that_a_page_names_exists(page: Path) -> None:
    named = {(method, shape(path)) for method, path in ROUTE.findall(page.read_text())}

    assert named - routes() - {("GET", "/openapi.json")} == set()


@every_page
def test_every_block_of_python_compiles(page: Path) -> None:
    for block in blocks(page.read_text()):
        if block.language == "python":
            compile("\n" * (block.line - 1) + block.text, name(page), "exec", dont_inherit=True)


def test_calls_are_found_where_people_write_them() -> None:
    page = "`make run DETACH=1`\n```bash\nA=1 penstock up --detach | cut -f1\n$ penstock job \\\n  x --wait 1\n```\n"

    assert calls(page) == [
        ["penstock", "up", "--detach"],
        ["penstock", "job", "x", "--wait", "1"],
        ["make", "run", "DETACH=1"],
    ]
    assert exists(["up", "--detach"])
    assert not exists(["up", "--sideways"])
    assert not exists(["dance"])

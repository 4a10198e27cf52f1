"""deploy/Dockerfile taken apart: its stages, and what a container is told to run."""

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from deploy.stack.home import ROOT

DOCKERFILE: Final = ROOT / "deploy" / "Dockerfile"
LAST: Final = ""
"""The name of the stage that becomes the image."""


class Instruction(NamedTuple):
    """One instruction; what it goes on with in further lines belongs to it."""

    stage: str
    word: str
    text: str


@cache
def instructions() -> tuple[Instruction, ...]:
    """Return all instructions in their order; those before the first stage belong to a stage named `ARG`."""
    return tuple(_instructions())


def _instructions() -> Iterator[Instruction]:
    stage = "ARG"
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line.strip() and not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        word, _, text = line.partition(" ")
        if word == "FROM":
            stage = text.partition(" AS ")[2]
        yield Instruction(stage, word, re.sub(r"\s+", " ", text))


def of(stage: str, word: str) -> list[str]:
    """Return the texts of a stage's instructions of one kind."""
    return [one.text for one in instructions() if (one.stage, one.word) == (stage, word)]


def arguments(stage: str = "ARG") -> dict[str, str]:
    """Return the build's arguments that have a default."""
    pairs = (text.partition("=") for text in of(stage, "ARG"))
    return {name: value for name, equals, value in pairs if equals}


def environment(stage: str) -> dict[str, str]:
    """Return the variables that a stage sets."""
    return dict(pair.split("=", 1) for text in of(stage, "ENV") for pair in text.split())


def commands(stage: str) -> list[str]:
    """Return the shell commands that a stage runs, one by one, without their mounts."""
    runs = (re.sub(r"--mount=\S+ ", "", text) for text in of(stage, "RUN"))
    return [command.strip() for run in runs for command in run.split("&&")]


def words(word: str) -> list[str]:
    """Return what the image's last instruction of that kind says in JSON, its exec form."""
    found: Any = json.loads(re.sub(r"^(--\S+ )*(CMD )?", "", of(LAST, word)[-1]))
    return [str(one) for one in found]


def copied(stage: str) -> list[Path]:
    """Return what a stage copies from the checkout."""
    texts = [text for text in of(stage, "COPY") if not text.startswith("--from")]
    return [Path(name) for text in texts for name in text.split()[:-1]]

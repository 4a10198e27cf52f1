"""The tutorial, as a person pastes it into a terminal: every block is run, and what it prints is compared."""

import fcntl
import itertools
import os
import pty
import re
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from deploy.stack.home import ROOT
from tests.services.stack import Stack
from tests.unit.docs.pages import Block, blocks

PAGE: Final = ROOT / "docs" / "tutorial" / "first-task.md"
MARK: Final = "\x1e"
"""Printed before each block, so that its output is found."""
SECONDS: Final = 120.0
ROWS, COLUMNS = 25, 80
"""What is assumed of a terminal that tells nothing."""
_FILE: Final = re.compile(r"Put this into `([\w.]+)`:\s*$")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path / "home", PENSTOCK=str(ROOT), NO_COLOR="1", TERM="dumb", PYTHONPATH="")
    yield stack
    stack.end()


def test_the_tutorial_does_and_prints_what_it_says(stack: Stack, tmp_path: Path) -> None:
    page = list(blocks(PAGE.read_text()))

    printed = run_in_a_terminal(script_of(page), tmp_path, stack.environment)

    outputs = printed.split(MARK)[1:]
    commands = [block for block in page if block.language == "bash"]
    assert len(outputs) == len(commands), f"it stopped after block {len(outputs)}:\n{printed[-3000:]}"
    for block, following in itertools.pairwise(page):
        if following.language == "text":
            output = outputs[commands.index(block)]
            assert is_like(following.text, output), f"line {following.line} of the page; printed was:\n{output}"


def script_of(page: list[Block]) -> str:
    """Return one script that runs the commands and writes the files, and ends at the first command that fails."""
    parts = ["set -eu"]
    for block in page:
        if block.language == "bash":
            parts.append(f"printf '{MARK}'\n{block.text}")
        elif block.language == "python":
            file = _FILE.search(block.before)
            assert file, f"line {block.line}: which file does this go into?"
            parts.append(f"cat > {file[1]} <<'END OF FILE'\n{block.text}END OF FILE")
    return "\n".join(parts)


def is_like(expected: str, output: str) -> bool:
    """Tell whether the output is what the page shows; `...` is any text, and white space is alike."""
    first, *others = [" ".join(piece.split()) for piece in expected.split("...")]
    shown = " ".join(output.split())
    if not others:
        return shown == first
    if not shown.startswith(first):
        return False
    place = len(first)
    for piece in others[:-1]:
        found = shown.find(piece, place)
        if found < 0:
            return False
        place = found + len(piece)
    return shown.endswith(others[-1]) and len(shown) - len(others[-1]) >= place


def run_in_a_terminal(script: str, folder: Path, environment: dict[str, str]) -> str:
    """Run the script in a terminal of its own and return what that shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    shell = subprocess.Popen(
        ["bash", "-c", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    return "".join(_shown(ours, shell)).replace("\r\n", "\n")


def _shown(terminal: int, shell: "subprocess.Popen[bytes]") -> Iterator[str]:
    """Yield what appears, until nobody holds the terminal any more."""
    deadline = time.monotonic() + SECONDS
    with open(terminal, "rb", buffering=0) as reader:
        try:
            while time.monotonic() < deadline and (some := reader.read(65_536)):
                yield some.decode(errors="replace")
        except OSError:  # Linux says so when the last holder of the other side has closed it
            pass
    shell.kill()
    shell.wait()

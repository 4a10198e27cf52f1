""".env.example is what the composition and the settings say."""

import re

import pytest

from deploy.stack.home import ROOT
from tests.services import compose
from tests.unit.docs import env_example
from tests.unit.docs.settings_page import CLASSES, rows


def test_the_example_is_made_from_the_composition_and_the_settings_as_they_are() -> None:
    assert env_example.FILE.read_text() == env_example.text(), "make it anew: python -m tests.unit.docs.env_example"


def test_the_example_says_something_of_every_variable_of_both() -> None:
    told = set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", env_example.FILE.read_text(), re.MULTILINE))
    first = {row.names[0] for _, settings, _ in CLASSES for row in rows(settings)}

    assert told == set(compose.variables()) | first


@pytest.mark.parametrize("name", sorted(env_example.FIXED))
def test_what_mounted_files_have_fixed_is_left_as_it_is(name: str) -> None:
    text = env_example.FILE.read_text()
    said = text[: text.index(f"\n# {name}=")].rpartition("\n\n")[2]
    (default,) = (
        row.default.strip("`") for _, settings, _ in CLASSES for row in rows(settings) if row.names[0] == name
    )

    assert "Left as it is with docker-compose.yml" in " ".join(said.replace("#", "").split())
    assert default in (ROOT / "deploy" / "compose" / "gateway" / "nginx.conf").read_text()

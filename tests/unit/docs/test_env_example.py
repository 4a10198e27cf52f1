""".env.example is what the composition and the settings say."""

import re

from tests.services import compose
from tests.unit.docs import env_example
from tests.unit.docs.settings_page import CLASSES, rows


def test_the_example_is_made_from_the_composition_and_the_settings_as_they_are() -> None:
    assert env_example.FILE.read_text() == env_example.text(), "make it anew: python -m tests.unit.docs.env_example"


def test_the_example_says_something_of_every_variable_of_both() -> None:
    told = set(re.findall(r"^(?:# )?([A-Z][A-Z0-9_]+)=", env_example.FILE.read_text(), re.MULTILINE))
    first = {row.names[0] for _, settings, _ in CLASSES for row in rows(settings)}

    assert told == set(compose.variables()) | first

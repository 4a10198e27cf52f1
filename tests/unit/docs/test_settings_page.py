"""The settings page is what the code says."""

import importlib
import pkgutil
import re

import pytest
from pydantic_settings import BaseSettings

import api
import deploy
import jobs
import schedules
import tasks
import worker
from deploy.cli.configuration import READERS
from deploy.stack.home import ROOT
from jobs.environment import Settings
from tests.unit.docs import variables_list
from tests.unit.docs.settings_page import CLASSES, PAGE, page


def test_the_page_is_the_one_that_the_code_makes() -> None:
    assert PAGE.read_text() == page(), "write it anew: python -m tests.unit.docs.settings_page"


def test_every_settings_class_of_the_code_is_on_the_page() -> None:
    for package in (api, deploy, jobs, schedules, tasks, worker):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.endswith(".settings"):
                importlib.import_module(module.name)

    ours = {one for one in Settings.__subclasses__() if one.__module__.partition(".")[0] != "tests"}
    ours = {one for one in ours if (ROOT / one.__module__.partition(".")[0]).is_dir()}

    assert ours == {settings for _, settings, _ in CLASSES}
    assert ours == set(READERS), "`penstock config` shows them all"
    assert BaseSettings.__subclasses__() == [Settings], "every class of ours reads the environment by the same rules"


@pytest.mark.parametrize("folder", ["deploy/stack", "deploy/cli"])
def test_every_variable_that_the_stack_and_the_command_read_is_on_the_page(folder: str) -> None:
    source = "\n".join(file.read_text() for file in sorted((ROOT / folder).glob("*.py")))

    read = set(re.findall(r"""environ(?:\.get\(|\[)["']((?:PENSTOCK|FLOWER)_\w+)""", source))

    assert read, "the pattern above finds nothing any more"
    read -= {"PENSTOCK_KEY_FILE"}  # told by the stack itself
    assert [name for name in sorted(read) if f"`{name}`" not in page()] == []


def test_every_variable_that_some_part_reads_is_known_to_all_of_them() -> None:
    assert variables_list.FILE.read_text() == variables_list.module(), (
        "write it anew: python -m tests.unit.docs.variables_list"
    )

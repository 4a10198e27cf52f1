"""Writes jobs/variables.py from the settings classes: `python -m tests.unit.docs.variables_list`."""

from typing import Final

from deploy.stack.home import ROOT
from jobs.environment import FILE_SUFFIX, PREFIX, is_secret, variables
from tests.unit.docs.settings_page import CLASSES, CLIENT, STACK

FILE: Final = ROOT / "jobs" / "variables.py"
TOLD_BY_THE_STACK: Final = ("PENSTOCK_KEY_FILE",)

HEAD: Final = '''"""Every variable of ours that some part of Penstock reads: a process refuses the others.

Made by `python -m tests.unit.docs.variables_list` from the settings classes of all packages, which one process does not
load; a test fails when this list and the code differ.
"""

from typing import Final

KNOWN: Final = frozenset(
    {
'''


def names() -> list[str]:
    """Return the variables that begin with our prefix, in alphabetical order."""
    found = {*TOLD_BY_THE_STACK, *(name for name, _, _ in (*STACK, *CLIENT))}
    for _, settings, _ in CLASSES:
        for field, facts in settings.model_fields.items():
            own = variables(settings, field, facts)
            found |= {*own, *(name + FILE_SUFFIX for name in own if is_secret(facts))}
    return sorted(name for name in found if name.startswith(PREFIX))


def module() -> str:
    """Return the module as the code is now."""
    return HEAD + "".join(f'        "{name}",\n' for name in names()) + "    }\n)\n"


if __name__ == "__main__":
    FILE.write_text(module())

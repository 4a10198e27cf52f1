"""What a process says when it cannot start with its settings: the setting, what is wrong, and no value."""

from typing import Final

from pydantic import ValidationError

PREFIX: Final = "PENSTOCK_"


def told(error: ValidationError) -> str:
    """Return one line that names each wrong setting by its environment variable."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{_variable(one['loc'])}: {one['msg']}" for one in found)


def _variable(where: tuple[int | str, ...]) -> str:
    name = str(where[0]).upper() if where else "settings"
    return name if name.startswith(PREFIX) else PREFIX + name

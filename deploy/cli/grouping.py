"""Options in groups: a command takes a dataclass, and a person types its fields."""

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command as typer sees it: where it takes a dataclass stand the fields of that, each an option.

    Raises `ValueError` where two options have one name.
    """
    parameters = inspect.signature(command).parameters.values()
    groups: dict[str, Any] = {one.name: one.annotation for one in parameters if is_dataclass(one.annotation)}

    @wraps(command)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    shown = [
        option
        for one in parameters
        for option in (inspect.signature(groups[one.name]).parameters.values() if one.name in groups else [one])
    ]
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]  # what typer reads; the stubs lack it
    return run

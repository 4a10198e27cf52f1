"""`penstock tasks`: what can be run, what it wants to know, and a command that runs it."""

import difflib
import json as json_format
import shlex
from typing import Annotated, Any, Final

import typer

from deploy.cli import options, screen, values
from deploy.cli.client import Json, connected
from deploy.cli.errors import CommandError

app = typer.Typer()

COLUMNS: Final = ("name", "queue", "priority", "retries", "time limit", "description")
FIELDS: Final = ("field", "type", "default", "description")
_BY_FORMAT: Final = {
    "uuid": "00000000-0000-4000-8000-000000000000",
    "date-time": "2030-01-31T18:00:00Z",
    "date": "2030-01-31",
    "email": "someone@example.com",
    "uri": "https://example.com/",
}
#: What a text most likely is where the schema has neither an example nor a format.
_BY_NAME: Final = {"url": "https://example.com/", "email": "someone@example.com", "to": "someone@example.com"}


@app.command(
    rich_help_panel=options.JOBS,
    epilog=options.examples("penstock tasks", "penstock tasks http.request", "penstock tasks --json | jq -r .name"),
)
def tasks(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show this task alone, with its schema")] = None,
    *,
    json: options.AsJson = False,
    url: options.Url = None,
    key_file: options.KeyFile = None,
) -> None:
    """List the installed tasks, or show what one of them takes and how to submit it."""
    with connected(url, key_file) as api:
        found = api.get("/tasks")["tasks"]
    chosen = found if name is None else [_named(name, found)]
    if json:
        for task in chosen:
            screen.dump(task)
    elif name is None:
        screen.table(COLUMNS, (_row(task) for task in chosen), empty="No tasks.")
    else:
        _show(chosen[0])


def _named(name: str, tasks: list[Json]) -> Json:
    for task in tasks:
        if task["name"] == name:
            return task
    near = difflib.get_close_matches(name, [task["name"] for task in tasks], n=1)
    raise CommandError(
        f"No task is named {name}.", cure=f"Did you mean {near[0]}?" if near else "`penstock tasks` lists them."
    )


def _row(task: Json) -> list[object]:
    limit = task["time_limit_seconds"]
    retries = "no end" if task["max_retries"] is None else task["max_retries"]
    first = task["description"].strip().split("\n")[0]
    return [task["name"], task["queue"], task["priority"], retries, f"{limit:g} s" if limit else "", first]


def _show(task: Json) -> None:
    schema = task["payload_schema"]
    screen.facts([*zip(COLUMNS[:-1], _row(task), strict=False), ("description", task["description"].strip())])
    rows = [_field_row(name, schema, field) for name, field in schema.get("properties", {}).items()]
    screen.table(FIELDS, rows, title="\nPayload", empty="It takes nothing.")
    screen.facts([("schema", screen.pretty(schema)), ("returns", _returns(task)), ("example", example(task))])


def _returns(task: Json) -> str:
    return screen.pretty(task["result_schema"]) if task["result_schema"] else ""


def _field_row(name: str, schema: Json, field: Json) -> list[object]:
    needed = name in schema.get("required", ())
    default = "(required)" if needed else json_format.dumps(field.get("default"))
    return [name, type_name(field), default, field.get("description", "")]


def type_name(field: Json) -> str:
    """Return the type that a JSON Schema describes, in few words."""
    if "$ref" in field:
        return str(field["$ref"]).rsplit("/", 1)[-1]
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    if "anyOf" in field:
        return " | ".join(type_name(one) for one in field["anyOf"])
    found = str(field.get("format") or field.get("type", "any"))
    return f"{found} of {type_name(field['items'])}" if found == "array" and "items" in field else found


def example(task: Json) -> str:
    """Return a command that submits the task with all that it requires."""
    schema = task["payload_schema"]
    words = ["penstock", "submit", task["name"]]
    for name in schema.get("required", ()):
        value = sample(schema["properties"][name], schema.get("$defs", {}), name)
        words += ["-p", f"{name}={_as_value(value)}"]
    return shlex.join([*words, "--wait", "30"])


def _as_value(value: Any) -> str:
    """Return `value` as it must stand after the equals sign to come out as itself."""
    if isinstance(value, str) and values.pair(f"x={value}")[1] == value:
        return value
    return json_format.dumps(value)


def sample(field: Json, definitions: Json, name: str = "") -> Any:
    """Return a value that fits a JSON Schema, as far as its examples, type, format, bounds and name tell."""
    if "$ref" in field:
        return sample(definitions[str(field["$ref"]).rsplit("/", 1)[-1]], definitions, name)
    for given in ("examples", "enum"):
        if field.get(given):
            return field[given][0]
    for given in ("const", "default"):
        if field.get(given) is not None:
            return field[given]
    if "anyOf" in field:
        return sample(field["anyOf"][0], definitions, name)
    return _of_type(field, definitions, name)


def _of_type(field: Json, definitions: Json, name: str) -> Any:
    match field.get("type"):
        case "string":
            return _BY_FORMAT.get(field.get("format", "")) or _BY_NAME.get(name, "text")
        case "integer" | "number":
            return field.get("minimum", 1)
        case "boolean":
            return True
        case "array":
            return [sample(field.get("items", {}), definitions, name)] * field.get("minItems", 0)
        case "object":
            properties = field.get("properties", {})
            return {one: sample(properties[one], definitions, one) for one in field.get("required", ())}
        case _:
            return None

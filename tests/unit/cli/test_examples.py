"""Schemas become short types and values that fit."""

from typing import Any

import pytest

from deploy.cli.catalogue import example, sample, type_name

DEFINITIONS = {
    "Point": {
        "type": "object",
        "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
        "required": ["x"],
    }
}


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ({"type": "string"}, "string"),
        ({"type": "string", "format": "uuid"}, "uuid"),
        ({"enum": ["a", 1]}, "a | 1"),
        ({"$ref": "#/$defs/Point"}, "Point"),
        ({"anyOf": [{"type": "number"}, {"type": "null"}]}, "number | null"),
        ({"type": "array", "items": {"type": "string"}}, "array of string"),
        ({"type": "array"}, "array"),
        ({}, "any"),
    ],
)
def test_a_type_is_said_in_few_words(field: dict[str, Any], name: str) -> None:
    assert type_name(field) == name


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ({"type": "string", "examples": ["hello"]}, "hello"),
        ({"enum": ["red", "green"]}, "red"),
        ({"const": 3}, 3),
        ({"type": "integer", "default": 10}, 10),
        ({"type": "integer"}, 1),
        ({"type": "number", "minimum": 0}, 0),
        ({"type": "string"}, "text"),
        ({"type": "string", "format": "date-time"}, "2030-01-31T18:00:00Z"),
        ({"type": "boolean"}, True),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [1, 1]),
        ({"type": "array"}, []),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 1),
        ({"$ref": "#/$defs/Point"}, {"x": 1}),
        ({}, None),
    ],
)
def test_a_sample_fits_its_schema(field: dict[str, Any], value: object) -> None:
    assert sample(field, DEFINITIONS) == value


def test_a_text_that_reads_as_json_is_quoted() -> None:
    task = {
        "name": "t",
        "payload_schema": {"properties": {"x": {"type": "string", "examples": ["5"]}}, "required": ["x"]},
    }

    assert example(task) == """penstock submit t -p 'x="5"' --wait 30"""

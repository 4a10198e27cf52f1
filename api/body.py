"""Reading a request's body: bounded, plain, and JSON that PostgreSQL can keep."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NoReturn, TypeVar

import pydantic_core
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from api.problems import BodyTooLarge, InvalidRequest, MalformedBody, UnsupportedMediaType
from jobs.errors import InvalidPayload
from jobs.storable import is_storable_json
from tasks.catalogue import field_errors

DEEPEST: Final = 32
"""Levels of nesting in a body."""

#: A string, or the rest of the body where one does not end, and brackets. Possessive: no byte is looked at twice,
#: so that no body, however odd, takes longer than its length.
_STRINGS_AND_BRACKETS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{\]}]', re.DOTALL)

M = TypeVar("M", bound=BaseModel)


async def read(request: Request, limit: int, kinds: Collection[str] = ("application/json",)) -> bytes:
    """Return the body, counted on the stream.

    Raises `BodyTooLarge` as soon as there is one byte too many, `UnsupportedMediaType` for anything but plain JSON
    of one of the media types `kinds`.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in kinds or request.headers.get("content-encoding", "identity") != "identity":
        raise UnsupportedMediaType
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise BodyTooLarge(f"The body may have at most {limit} bytes.", limit_bytes=limit)
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise BodyTooLarge(f"The body may have at most {limit} bytes.", limit_bytes=limit)
            chunks.append(chunk)
    except ClientDisconnect:
        raise MalformedBody("The client left before the body was complete.") from None
    return b"".join(chunks)


async def read_optional(request: Request, limit: int) -> bytes:
    """Return the body, or an empty JSON object where there is none."""
    if request.headers.get("content-length", "") == "0" or not (
        "content-length" in request.headers or "transfer-encoding" in request.headers
    ):
        return b"{}"
    return await read(request, limit)


def parse(model: type[M], body: bytes) -> M:
    """Return the body as `model`. Raises `MalformedBody` when it is no JSON, `InvalidRequest` naming the fields."""
    check_depth(body)
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> MalformedBody | InvalidRequest:
    found = field_errors(error)
    if error.error_count() > 1:
        return InvalidRequest(errors=found, index=_item(found))
    (only,) = error.errors(include_url=False, include_input=False, include_context=False)
    if only["type"] == "json_invalid":
        return MalformedBody(only["msg"])
    return InvalidRequest(errors=found, index=_item(found))


def _item(found: Sequence[Mapping[str, str]]) -> int | None:
    """Return which item of a batch the first finding is about."""
    place = re.match(r"jobs\.(\d+)", found[0]["field"])
    return int(place[1]) if place else None


def check_depth(body: bytes) -> None:
    """Raise `MalformedBody` for JSON that is nested too deeply; a look at the bytes is enough for most."""
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return
    depth = deepest = 0
    for mark in _STRINGS_AND_BRACKETS.finditer(body):
        symbol = mark[0][:1]
        if symbol in b"[{":
            depth += 1
            deepest = max(deepest, depth)
            if deepest > DEEPEST:
                raise MalformedBody(f"The body is nested more than {DEEPEST} levels deep.")
        elif symbol in b"]}":
            depth -= 1


def storable(payload: dict[str, Any]) -> str:
    """Return the payload as JSON text that jsonb takes. Raises `InvalidPayload` for what it does not."""
    try:
        text = pydantic_core.to_json(payload)
    except ValueError:  # half a surrogate pair has no UTF-8
        raise InvalidPayload(errors=[{"field": "payload", "message": "holds text that is not Unicode"}]) from None
    if not is_storable_json(text.decode()):
        raise InvalidPayload(errors=[{"field": "payload", "message": "holds the character NUL"}])
    if b"NaN" in text or b"Infinity" in text:
        _refuse_constants(text)
    return text.decode()


def _refuse_constants(text: bytes) -> None:
    def refuse(constant: str) -> NoReturn:
        raise InvalidPayload(errors=[{"field": "payload", "message": f"holds {constant}, which JSON does not know"}])

    json.loads(text, parse_constant=refuse)


def canonical(body: bytes) -> bytes:
    """Return the same bytes for the same JSON, however it was spelled."""
    return json.dumps(json.loads(body), sort_keys=True, separators=(",", ":")).encode()

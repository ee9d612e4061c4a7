"""common/study: what all files that people write in TOML share: names of sites, and problems told with their line.

Of the protocol it needs nothing, so that what only reads `site.toml` or `enrolment.toml` starts quickly.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from common.spelling import nearest

SiteName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Place = tuple[str | int, ...]

_MESSAGES = {
    "tuple_type": "write a list: [ ... ]",
    "missing": "is needed",
    "finite_number": "must be a finite number",
    "too_short": "needs at least {min_length} entries",
    "too_long": "may have at most {max_length} entries",
}
"""Sentences for what pydantic says in the words of Python, by its name of the problem."""


def as_tuples(value: Any) -> Any:
    """Lists as tuples, all the way down: validated objects are immutable."""
    if isinstance(value, dict):
        return {key: as_tuples(item) for key, item in value.items()}
    return tuple(as_tuples(item) for item in value) if isinstance(value, list | tuple) else value


def toml_problems(error: ValidationError, text: str, model: type[BaseModel]) -> list[str]:
    """One sentence for each problem that pydantic found, with the line and, for a misspelt key, the likely one."""
    sentences = []
    found = error.errors()
    for item in found:
        place = tuple(item["loc"])
        within = any(tuple(other["loc"])[: len(place)] == place for other in found if other is not item)
        if item["type"] == "too_short" and within:
            continue  # only because its elements are wrong
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] in _MESSAGES:
            message = _MESSAGES[item["type"]].format(**item.get("ctx", {}))
        if item["type"] == "extra_forbidden":
            message = "unknown field" + nearest(str(place[-1]), _keys_at(model, place[:-1]))
        sentences.append(f"line {line_of(text, place)}: {spell(place)}: {message}")
    return sentences


def spell(place: Place) -> str:
    """A place as people write it: `models[1].predictors`; positions count from 1."""
    words = ""
    for part in place:
        words += f"[{part + 1}]" if isinstance(part, int) else (f".{part}" if words else part)
    return words


def line_of(text: str, place: Place) -> int:
    """The line of a TOML text that a place most likely came from; its table's line where the key is absent.

    TOML readers in the standard library keep no positions. Tables of a protocol are written as `[name]`,
    `[name.sub]` and `[[name]]`, so counting headers finds the table and a key search the line in it.
    """
    lines = text.splitlines()
    if not place:
        return 1
    table, rest = str(place[0]), list(place[1:])
    start, wanted = 0, rest.pop(0) if rest and isinstance(rest[0], int) else None
    header = re.compile(rf"^\s*\[\[?\s*{re.escape(table)}\s*\]?\]")
    seen = -1
    for number, line in enumerate(lines):
        if header.match(line):
            seen, start = seen + 1, number
            if wanted is None or seen == wanted:
                break
        elif re.match(rf"^\s*{re.escape(table)}\s*=", line):
            start = number
            break
    if len(rest) > 1 and isinstance(rest[0], str) and isinstance(rest[1], int):
        inner = re.compile(rf"^\s*\[\[\s*{re.escape(table)}\.{re.escape(rest[0])}\s*\]\]")
        if sum(map(bool, map(inner.match, lines))) > rest[1]:  # written as `[[name.sub]]`
            return line_of(text, (f"{table}.{rest[0]}", *rest[1:]))
    key = next((part for part in rest if isinstance(part, str)), None)
    if key is not None:
        sub_table = re.compile(rf"^\s*\[{re.escape(table)}\.{re.escape(key)}\]")
        end = next((number for number in range(start + 1, len(lines)) if header.match(lines[number])), len(lines))
        at = next((number for number in range(start, end) if sub_table.match(lines[number])), None)
        if at is not None:
            return at + 1
        for number in range(start, len(lines)):
            if number > start and re.match(r"^\s*\[(?!\s*[\"'])", lines[number]) and "=" not in lines[number]:
                break
            if re.match(rf"^\s*{re.escape(key)}\s*[=.]", lines[number]):
                return number + 1
    return start + 1


def _keys_at(model: type[BaseModel], place: Place) -> list[str]:
    """The field names that a table at this place may have."""
    current: Any = model
    for part in place:
        if isinstance(part, int):
            continue
        fields = getattr(current, "model_fields", {})
        if part not in fields:
            return []
        current = _inner_model(fields[part].annotation)
    return list(getattr(current, "model_fields", {}))


def _inner_model(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        inner = _inner_model(argument)
        if inner is not None:
            return inner
    return None

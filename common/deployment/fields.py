"""common/deployment: fields of the files of a deployment, and how such a file is read and written."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.study.declarations import as_tuples, toml_problems

T = TypeVar("T", bound=BaseModel)

TomlValue = str | int | date | list[str] | Mapping[str, date]

ConsortiumName = Annotated[str, Field(pattern=r"^\w[\w .-]{0,63}$")]
Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,250}[A-Za-z0-9])?$")]
"""A DNS name or an IPv4 address."""
Port = Annotated[int, Field(ge=1, le=65535)]
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,200}$")]
"""Words for a person, in one line."""
HexKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""32 bytes of an Ed25519 public key."""


class Declared(BaseModel):
    """A table that a file declares: nothing unknown, nothing converted, nothing changed later."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def read_declared(model: type[T], text: str) -> tuple[T | None, list[str]]:
    """A TOML text as the model, or every problem of it with its line."""
    try:
        return model.model_validate(as_tuples(tomllib.loads(text))), []
    except tomllib.TOMLDecodeError as error:
        return None, [str(error)]
    except ValidationError as error:
        return None, toml_problems(error, text, model)


def as_toml(values: Mapping[str, TomlValue]) -> str:
    """Names and values as lines of TOML; tables come last."""
    lines = [f"{name} = {_value(value)}\n" for name, value in values.items() if not isinstance(value, Mapping)]
    for name, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"\n[{name}]\n", *(f"{_value(key)} = {_value(item)}\n" for key, item in value.items())]
    return "".join(lines)


def _value(value: TomlValue) -> str:
    return value.isoformat() if isinstance(value, date) else json.dumps(value, ensure_ascii=False)


def today() -> date:
    """The date by which certificates expire: that of Greenwich."""
    return datetime.now(UTC).date()

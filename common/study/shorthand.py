"""common/study: what a protocol may write in short."""

from __future__ import annotations

from typing import Any

from common.study.dictionary import DICTIONARY
from common.study.features import FEATURE


def expand_predictors(data: Any) -> Any:
    """Let a predictor be written as a bare name: it gets the variable's usual coding."""
    if not isinstance(data, dict):
        return data
    declared = data.get("variables", ())
    own = {v["name"]: v for v in declared if isinstance(v, dict) and isinstance(v.get("name"), str)}

    def term(entry: Any) -> Any:
        if not isinstance(entry, str):
            return entry
        base = own.get(entry)
        kind = base.get("kind") if base else getattr(DICTIONARY.get(entry), "kind", None)
        cutoff = base.get("cutoff") if base else getattr(DICTIONARY.get(entry), "cutoff", None)
        number = kind == "continuous" or FEATURE.fullmatch(entry) is not None
        coding = "levels" if not number else ("above" if cutoff is not None else "linear")
        return {"variable": entry, "coding": coding}

    def expanded(part: Any) -> Any:
        named = isinstance(part, dict) and isinstance(part.get("predictors"), tuple)
        return {**part, "predictors": tuple(term(t) for t in part["predictors"])} if named else part

    tables = {name: data[name] for name in ("models", "analyses") if isinstance(data.get(name), tuple)}
    return {**data, **{name: tuple(expanded(part) for part in parts) for name, parts in tables.items()}}

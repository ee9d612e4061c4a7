"""common/study: what a protocol may write in short."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from common.study.dictionary import DICTIONARY
from common.study.features import FEATURE, USUAL_LIMIT, feature_variable
from common.study.modelling import is_score
from common.study.preparation import Preparation


def expand_predictors(data: Any) -> Any:
    """Let a predictor be written as a bare name, which gets the variable's usual coding, and features as a set."""
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
        number = kind == "continuous" or FEATURE.fullmatch(entry) is not None or is_score(entry)
        coding = "levels" if not number else ("above" if cutoff is not None else "linear")
        return {"variable": entry, "coding": coding}

    known = _features(data)

    def expanded(part: Any) -> Any:
        if isinstance(part, dict) and isinstance(part.get("features"), dict):
            part = _with_features(part, known, own)
        named = [k for k in ("predictors", "cox") if isinstance(part, dict) and isinstance(part.get(k), tuple)]
        return {**part, **{k: tuple(term(t) for t in part[k]) for k in named}} if named else part

    lists = ("models", "analyses", "comparisons")
    tables = {name: data[name] for name in lists if isinstance(data.get(name), tuple)}
    look = {"shift": expanded(data["shift"])} if "shift" in data else {}
    return {**data, **look, **{name: tuple(expanded(part) for part in parts) for name, parts in tables.items()}}


def _features(data: dict[str, Any]) -> tuple[str, ...]:
    """All features of the preparation; none where it is unsound, which is told elsewhere."""
    try:
        return Preparation.model_validate(data.get("preparation")).feature_names()
    except ValidationError:
        return ()


def _with_features(part: dict[str, Any], known: tuple[str, ...], own: dict[str, Any]) -> dict[str, Any]:
    """The model with the features of its set as predictors, each once, behind those that it names."""
    named = part.get("predictors", ())
    if not isinstance(named, tuple):
        return part
    there = {t.get("variable") if isinstance(t, dict) else t for t in named}
    wanted = part["features"]
    found = []
    for name in known:
        parts = FEATURE.fullmatch(name)
        if parts is None or parts["kind"] == "landmark" or name in there:
            continue
        groups = zip(("images", "regions", "filters", "classes"), ("image", "region", "filter", "kind"), strict=True)
        if all(not wanted.get(a) or parts[b] in wanted[a] for a, b in groups):
            found.append({"variable": name, "coding": feature_coding(name, own.get(name)), "cutoff": None})
    return {**part, "predictors": (*named, *found)}


def feature_coding(name: str, own: dict[str, Any] | None = None) -> str:
    """How a feature becomes a number of which sums can be made: as it is, or where it may be huge its logarithm."""
    usual = feature_variable(name)
    low = (own or {}).get("low", usual.low) or 0.0
    high = (own or {}).get("high", usual.high) or 0.0
    # A wider range over a spread below 1 gives standardised values that no site takes: contrasts of grey levels.
    if max(-low, high) <= USUAL_LIMIT:
        return "linear"
    return "asinh" if low <= -1 else "log"

"""server/report: the section on `[preparation]`: how hospitals turned images into features and stacks, as a table."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from common.published import format as fmt
from common.published.results import Results
from server.report.blocks import Paragraph, Row, Section, Table

_HEADS = {
    "registration": "Registration",
    "resampling": "Resampling",
    "regions": "Regions",
    "intensity": "Intensities",
    "radiomics": "Radiomics features",
    "stacks": "ROI stacks",
}
_WORDS = {
    "n4": "N4 bias field correction",
    "min_dice": "Least overlap of livers (Dice)",
    "log_sigma_mm": "Laplacian of Gaussian, sigma (mm)",
    "phase": "phases",
    "subtraction": "subtractions",
}
_UNITS = {"_mm": " (mm)", "_pixels": " (pixels)"}


def preparation(results: Results) -> Section:
    """Every setting that decides a number; nothing for a study without images."""
    section = Section("preparation", "Preparation of images")
    settings = results.preparation
    if settings is None:
        return section
    section.blocks.append(
        Paragraph(
            "Every hospital prepared its own images with these settings, which are part of the study; the images and "
            "the features of single patients stayed there."
        )
    )
    general = {k: v for k, v in settings if not isinstance(v, BaseModel) and k not in _HEADS}
    rows = [Row(_word(name), (_value(value),)) for name, value in general.items() if value not in ((), None)]
    for name, head in _HEADS.items():
        part = getattr(settings, name)
        if isinstance(part, BaseModel):
            rows += [Row(f"{head}: {words}", (value,)) for words, value in _settings(part)]
    section.blocks.append(Table("Settings of the preparation", ("Setting", "Value"), tuple(rows)))
    return section


def _settings(part: BaseModel, head: str = "") -> Iterator[tuple[str, str]]:
    """The settings of a table, those of tables inside it with the name of that table before."""
    for name, value in part:
        words = f"{head}{_word(name, lower=True)}"
        if isinstance(value, BaseModel):
            yield from _settings(value, f"{words}, ")
        elif isinstance(value, dict):
            yield from ((f"{words}, {fmt.plain(key)}", _value(inner)) for key, inner in value.items())
        elif value is not None and value != ():
            yield words, _value(value)


def _word(name: str, *, lower: bool = False) -> str:
    words = _WORDS.get(name, name)
    for ending, unit in _UNITS.items():
        words = f"{words.removesuffix(ending)}{unit}" if words.endswith(ending) else words
    words = words.replace("_", " ")
    return words if lower or name in _WORDS else words[:1].upper() + words[1:]


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return ", ".join(_value(one) for one in value)
    text = fmt.plain(str(value))
    return text.upper() if text in ("ct", "mr") else text

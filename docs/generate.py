"""Writes the reference pages that are made from the program itself: run `python docs/generate.py` after a change."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin, get_type_hints

import click
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import client.cli
import server.cli
import simulation.cli
from client.cohort.site import ColumnMap, Images, Policy, SiteHead, Tables
from common.errors import CATALOGUE
from common.published import results as published
from common.study import (
    characteristics,
    eligibility,
    genomics,
    modelling,
    networks,
    preparation,
    protocol,
    reporting,
    shifting,
    subgroups,
    terms,
)
from common.study.analyses import ANALYSES
from common.study.chain import ChainedImpute
from common.study.dictionary import DICTIONARY, Variable
from common.study.readings import second_column
from common.study.recipe import Impute
from server.study.results import schema
from simulation.cohorts import consortium as declared
from simulation.cohorts.faults import FAULTS
from simulation.shipped import shipped_consortia

DOCS = Path(__file__).resolve().parent
MADE = "<!-- Made by docs/generate.py; do not edit. -->\n\n"

_GROUPS = {
    1: "The study protocol",
    2: "A site's folder",
    3: "Patients and values",
    4: "What a site refuses",
    5: "The federation",
    6: "Statistics",
    7: "Runs",
    8: "Simulation and importers",
    9: "FedMVI itself",
}


def errors() -> str:
    """docs/errors.md."""
    text = (
        MADE
        + "# Errors\n\nEvery error has a number. Only the number and the facts in `{braces}` may leave a hospital; "
    )
    text += "file, row, column and value are shown on the machine where the error happened.\n"
    group = 0
    for number, entry in sorted(CATALOGUE.items()):
        if number // 100 != group:
            group = number // 100
            text += f"\n## {group}xx: {_GROUPS[group]}\n\n| number | what happened | what to do |\n|---|---|---|\n"
        text += f'| <a id="fedmvi-{number}"></a>FEDMVI-{number} | {_cell(entry.what)} | {_cell(entry.do)} |\n'
    return text


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    default = info.get_default(call_default_factory=True)
    if isinstance(default, declared.Quartiles):
        return f"`{{ lower = {default.lower}, median = {default.median}, upper = {default.upper} }}`"
    return f"`{json.dumps(default)}`" if not isinstance(default, BaseModel) else ""


def _kind(info: FieldInfo) -> str:
    def name(kind: object) -> str:
        if isinstance(kind, type) and not get_args(kind):
            return kind.__name__
        text = str(kind).replace("typing.", "").replace("common.study.protocol.", "")
        return text.split("Annotated[", 1)[-1].split(", FieldInfo", 1)[0] if "Annotated[" in text else text

    return _cell(name(info.annotation))


_TYPES: dict[object, str] = {str: "text", bool: "true or false", int: "whole number", float: "number"}
_BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def _limited(info: FieldInfo) -> str:
    """The type of a field in TOML's words, with the limits of a number."""

    def name(kind: object, metadata: list[object]) -> str:
        parts = get_args(kind)
        if get_origin(kind) is Annotated:
            return name(parts[0], getattr(parts[1], "metadata", []))
        if get_origin(kind) is Literal:
            return " or ".join(json.dumps(part) for part in parts)
        if get_origin(kind) in (Union, UnionType):
            return " or ".join(name(part, metadata) for part in parts if part is not NoneType)
        if get_origin(kind) is tuple:
            how_many = "list" if parts[-1] is Ellipsis else f"list of {len(parts)}"
            return f"{how_many}: {name(parts[0], [])}"
        limits = [f"{sign} {getattr(m, key)}" for key, sign in _BOUNDS.items() for m in metadata if hasattr(m, key)]
        return ", ".join([_TYPES.get(kind, "table"), *limits])

    return name(info.annotation, info.metadata)


def table(model: type[BaseModel], heading: str, kind: Callable[[FieldInfo], str] = _kind) -> str:
    """One table of a TOML file, from the descriptions of its fields."""
    text = f"\n## {heading}\n\n{inspect.cleandoc(model.__doc__ or '')}\n\n"
    text += "| field | type | default | meaning |\n|---|---|---|---|\n"
    for name, info in model.model_fields.items():
        text += f"| `{name}` | {kind(info)} | {_default(info)} | {_cell(info.description or '')} |\n"
    return text


def study() -> str:
    """docs/reference/study.md."""
    text = MADE + "# study.toml\n\nThe study protocol. Unknown fields are refused, with the line and a hint.\n"
    parts: list[tuple[type[BaseModel], str]] = [
        (protocol.StudyHead, "[study]"),
        (protocol.Endpoint, "[[endpoints]]"),
        (Variable, "[[variables]]"),
        (eligibility.Eligibility, "[eligibility]"),
        (eligibility.Rule, "A rule of [eligibility]"),
        (protocol.Cohort, "[[cohorts]]"),
        (protocol.Split, "split, of a cohort"),
        (protocol.Model, "[[models]]"),
        (terms.Term, "A predictor of a model"),
        (modelling.FeatureSet, "features, of a model"),
        (modelling.Reduction, "reduction, of a model"),
        (modelling.Fixed, "fixed, of a model"),
        (shifting.Harmonisation, "harmonise, of a model"),
        (modelling.Choice, "[[choices]]"),
        (protocol.Comparison, "[[comparisons]]"),
        (subgroups.Subgroups, "[[subgroups]]"),
        (subgroups.Division, "A division of [[subgroups]]"),
        (shifting.Shift, "[shift]"),
        (shifting.Recalibration, "[[recalibrations]]"),
        (characteristics.Characteristics, "[characteristics]"),
        (protocol.Analysis, "[[analyses]]"),
        (protocol.Limits, "[limits]"),
        (protocol.Federation, "[federation]"),
        (reporting.Reporting, "[reporting]"),
    ]
    text += "".join(table(model, heading) for model, heading in parts)
    images: list[tuple[type[BaseModel], str]] = [
        (preparation.Preparation, "[preparation]"),
        (preparation.Registration, "[preparation.registration]"),
        (preparation.Resampling, "[preparation.resampling]"),
        (preparation.Regions, "[preparation.regions]"),
        (preparation.Intensity, "[preparation.intensity]"),
        (preparation.Kind, "[preparation.intensity.phase] and [preparation.intensity.subtraction]"),
        (preparation.Radiomics, "[preparation.radiomics]"),
        (preparation.Stacks, "[preparation.stacks]"),
    ]
    text += "".join(table(model, heading, _limited) for model, heading in images)
    for modality, numbers in preparation.PRESETS.items():
        text += f"\nPreset of `{modality}`: `{json.dumps(numbers)}`\n"
    trained: list[tuple[type[BaseModel], str]] = [
        (networks.Network, "[[networks]]"),
        (networks.Training, "[networks.training]"),
        (networks.Augmentation, "augmentation, of [networks.training]"),
        (networks.FederatedTraining, "[networks.federation]"),
        (networks.Privacy, "[networks.privacy]"),
        (networks.Projection, "[networks.projection]"),
        (networks.Adaptation, "[networks.adaptation]"),
    ]
    text += "".join(table(model, heading, _limited) for model, heading in trained)
    expressed: list[tuple[type[BaseModel], str]] = [
        (genomics.Genomics, "[genomics]"),
        (genomics.GeneSets, "[genomics.gene_sets]"),
        (genomics.ExpressionComparison, "[[genomics.comparisons]]"),
    ]
    text += "".join(table(model, heading, _limited) for model, heading in expressed)
    text += "\n## Statistics of [[analyses]]\n\n| `statistic` | what it is | endpoint | on |\n|---|---|---|---|\n"
    for name, kind in ANALYSES.items():
        on = kind.on if kind.fewest < 2 else f"{kind.fewest} or more {kind.on}"
        text += f"| `{name}` | {kind.title} | {kind.endpoint} | {on} |\n"
    return text


_JSON: dict[object, str] = {str: "text", bool: "true or false", int: "whole number", float: "number", NoneType: "null"}
_ELSEWHERE = {"Preparation": "study.md#preparation", "Reporting": "study.md#reporting"}


def _in_json(kind: object) -> str:
    """A type in the words of JSON; a part of the file as a link to where it is described."""
    parts = get_args(kind)
    if get_origin(kind) is Annotated:
        return _in_json(parts[0])
    if get_origin(kind) is Literal:
        return " or ".join(f"`{json.dumps(part)}`" for part in parts)
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_in_json(part) for part in parts)
    if get_origin(kind) in (list, tuple, dict):
        inner = _in_json(parts[-1 if get_origin(kind) is dict else 0])
        several = f"({inner})" if " or " in inner else inner
        return f"by name: {several}" if get_origin(kind) is dict else f"list of {several}"
    if isinstance(kind, type) and (issubclass(kind, BaseModel) or is_dataclass(kind)):
        return f"[{kind.__name__}]({_ELSEWHERE.get(kind.__name__, '#' + kind.__name__.lower())})"
    return _JSON[kind]


def results() -> str:
    """docs/reference/results.md."""
    text = MADE + (
        "# results.json\n\nAll that a study publishes; the report, the tables and a handed-on model are made from it. "
        "It is a function of study, data and code: no times, no names of computers, and the same study over the same "
        "data gives the same bytes. Unknown fields are refused. The same for programs is the [JSON schema]"
        "(results.schema.json), which a test holds against the results of whole studies.\n"
    )
    parts: list[type[BaseModel]] = [
        published.Results,
        published.CohortFacts,
        published.VariableFacts,
        published.Result,
        published.Estimate,
        published.Count,
        published.Curve,
        published.CrossTable,
        published.LogisticModel,
        published.Predictor,
        published.GeneRows,
        published.GeneSetRow,
    ]
    text += "".join(table(part, part.__name__, lambda info: _in_json(info.annotation)) for part in parts)
    for filling in (Impute, ChainedImpute):
        about = inspect.cleandoc(filling.__doc__ or "").split("\n\n")[0]
        text += f"\n## {filling.__name__}\n\n{about}\n\n| field | type |\n|---|---|\n"
        text += "".join(f"| `{name}` | {_in_json(kind)} |\n" for name, kind in get_type_hints(filling).items())
    return text


def site() -> str:
    """docs/reference/site.md."""
    text = MADE + "# site.toml\n\nThe one file in which a hospital describes its tables and its policy.\n"
    parts: list[tuple[type[BaseModel], str]] = [
        (SiteHead, "[site]"),
        (Tables, "[tables]"),
        (Images, "[images]"),
        (ColumnMap, "An entry of [columns]"),
        (Policy, "[policy]"),
    ]
    return text + "".join(table(model, heading) for model, heading in parts)


def dictionary() -> str:
    """docs/reference/dictionary.md."""
    text = MADE + "# Clinical variables\n\nKnown to every study; a study adds its own under `[[variables]]`. "
    text += f"A second reader's reading of one with levels stands in a column `{second_column('<name>')}`.\n\n"
    text += "| name | label | kind | known | unit (other units) | cut-off | plausible | levels | aliases |\n"
    text += "|---|---|---|---|---|---|---|---|---|\n"
    for v in DICTIONARY.values():
        units = v.unit + (f" ({', '.join(v.units)})" if v.units else "")
        plausible = f"{v.low:g} to {v.high:g}" if v.low is not None and v.high is not None else ""
        cutoff = f"> {v.cutoff:g}" if v.cutoff is not None else ""
        cells = [
            f"`{v.name}`",
            v.title,
            v.kind,
            v.known,
            units,
            cutoff,
            plausible,
            ", ".join(v.levels),
            ", ".join(v.aliases),
        ]
        text += "| " + " | ".join(cells) + " |\n"
    return text


def consortium() -> str:
    """docs/reference/consortium.md."""
    text = MADE + (
        "# Consortium file\n\nWhat `fedmvi-simulate cohort` makes hospitals from. How to write one is in [simulate a "
        "consortium](../howto/simulate-a-consortium.md). Unknown fields are refused. The default `null` means that the "
        "field is absent.\n"
    )
    parts: list[tuple[type[BaseModel], str]] = [
        (declared.Consortium, "Top of the file"),
        (declared.Site, "[[sites]]"),
        (declared.Group, "groups, of a site"),
        (declared.Scanner, "scanner, of a site"),
        (declared.Clinical, "[clinical]"),
        (declared.Quartiles, "age, size_absent and size_present, of [clinical]"),
        (declared.Trait, "An entry of [clinical.traits]"),
        (declared.Survival, "[survival]"),
        (declared.Missing, "[missing]"),
        (declared.Imaging, "[imaging]"),
        (declared.Signal, "[imaging.signal]"),
        (declared.Expression, "[expression]"),
    ]
    text += "".join(table(model, heading, _limited) for model, heading in parts)
    return text + _shipped() + _faults()


def _shipped() -> str:
    text = "\n## Shipped consortia\n\n| name | title | hospitals | patients | images | groups with expression |\n"
    text += "|---|---|---|---|---|---|\n"
    for name in shipped_consortia():
        file = declared.load_consortium(name)
        images = (
            "none" if file.imaging is None else f"{file.imaging.modality.upper()}: {', '.join(file.imaging.acquired)}"
        )
        sequenced = "none" if file.expression is None else ", ".join(file.expression.labels) or "all"
        patients = sum(site.patients for site in file.sites)
        text += f"| `{name}` | {_cell(file.title)} | {len(file.sites)} | {patients} | {images} | {sequenced} |\n"
    return text


def _faults() -> str:
    text = (
        "\n## Faults\n\nNames for `flaws` of a site. A fault of images needs hospitals with images of that format. The "
        "last column is the number that `fedmvi-site check` gives, with a study that uses what is damaged; a dash "
        "stands where it gives none.\n\n| fault | damages | what is wrong | number |\n|---|---|---|---|\n"
    )
    damages = {"table": "table", "nifti": "NIfTI", "dicom": "DICOM"}
    for name, fault in FAULTS.items():
        number = "-" if fault.tell is None else f"[{fault.tell}](../errors.md#fedmvi-{fault.tell})"
        text += f"| `{name}` | {damages[fault.of]} | {_cell(fault.text)} | {number} |\n"
    return text


PROGRAMS = {
    "fedmvi-site": (client.cli.app, "At a hospital."),
    "fedmvi-server": (server.cli.app, "At the coordinator."),
    "fedmvi-simulate": (simulation.cli.app, "On one machine, over simulated or public patients."),
}


def commands() -> str:
    """docs/reference/commands.md."""
    text = MADE + "# Commands\n\nThree programs; `--help` of each says the same.\n"
    for program, (app, about) in PROGRAMS.items():
        text += f"\n## {program}\n\n{about}\n"
        text += "".join(_command(words, command) for words, command in _leaves(program, typer.main.get_command(app)))
    return text


def _leaves(words: str, command: click.Command) -> list[tuple[str, click.Command]]:
    """All commands that do something, with the words that call them."""
    if not isinstance(command, click.Group):
        return [(words, command)]
    return [leaf for name, inner in command.commands.items() for leaf in _leaves(f"{words} {name}", inner)]


def _command(words: str, command: click.Command) -> str:
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    named = "".join(f" {p.make_metavar(click.Context(command))}" for p in arguments)
    text = f"\n### {words}\n\n```\n{words}{named}{' [OPTIONS]' if options else ''}\n```\n\n"
    text += inspect.cleandoc(command.help or "") + "\n"
    if command.epilog:
        text += f"\n{command.epilog.replace('Example: ', 'Example: `', 1)}`\n"
    if arguments or options:
        text += "\n| | | default |\n|---|---|---|\n"
    for one in (*arguments, *options):
        name = one.make_metavar(click.Context(command)) if isinstance(one, click.Argument) else ", ".join(one.opts)
        text += f"| `{name}` | {_cell(getattr(one, 'help', None) or '')} | {_default_of(one)} |\n"
    return text


def _default_of(parameter: click.Parameter) -> str:
    if parameter.required:
        return "required"
    default = parameter.default
    if default in (None, False, "") or callable(default):
        return ""
    return f"`{_cell(str(getattr(default, 'value', default)))}`"


def pages() -> dict[Path, str]:
    """Every page that is made, by its path."""
    return {
        DOCS / "errors.md": errors(),
        DOCS / "reference" / "commands.md": commands(),
        DOCS / "reference" / "study.md": study(),
        DOCS / "reference" / "site.md": site(),
        DOCS / "reference" / "dictionary.md": dictionary(),
        DOCS / "reference" / "consortium.md": consortium(),
        DOCS / "reference" / "results.md": results(),
        DOCS / "reference" / "results.schema.json": json.dumps(schema(), indent=1, sort_keys=True) + "\n",
    }


def main() -> int:
    """Write all pages."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""tests: a small consortium of simulated site folders in this process, and ways to ask its sites."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import common.statistics  # noqa: F401 - registers every query
from client.answering import answer_message
from client.cohort.membership import members
from client.cohort.site import load_site
from client.cohort.store import load_prepared
from client.preparation.prepare import prepare
from common.errors import FedmviError
from common.federation.codec import Packed
from common.federation.envelope import Answer, Ticket, read_answers, write_envelope
from common.federation.ports import InProcess, SitesPort
from common.federation.query import Ask, perform
from common.federation.tasks import Open, Sign, SignedKey
from common.study.coding import CodedColumn, coded_columns
from common.study.fingerprint import canonical_json, code_fingerprint, digest, study_fingerprint
from common.study.loader import parse_study
from common.study.protocol import Study
from common.study.ranges import plausible_range
from common.study.recipe import Complete, Frame, Impute, Recipe, Select
from common.study.scales import scales
from common.study.table import SiteTable
from server.study.conduct import signed_keys
from simulation.importers.folder import introduce

STUDY = """
[study]
name = "small"
title = "A small study"
simulated = true

[[endpoints]]
name = "mvi"
kind = "binary"
columns = ["mvi"]

[[endpoints]]
name = "os"
kind = "survival"
columns = ["os_months", "os_event"]
unit = "months"
maximum = 60

[[cohorts]]
name = "train"
role = "train"
sites = ["a", "b", "c"]

[[cohorts]]
name = "external"
role = "external-test"
sites = ["d", "e", "f"]

[[cohorts]]
name = "alone"
role = "outcome"
sites = ["a"]

[[models]]
name = "clinical"
endpoint = "mvi"
cohort = "train"
predictors = [{ variable = "age", coding = "linear" }, "sex", "afp", "cirrhosis"]
missing = "mean"
evaluate = ["external"]

[[models]]
name = "wide"
endpoint = "mvi"
cohort = "train"
predictors = [
  { variable = "age", coding = "linear" }, { variable = "albumin", coding = "linear" },
  { variable = "platelets", coding = "linear" }, { variable = "inr", coding = "linear" },
  { variable = "total_bilirubin", coding = "linear" }, { variable = "ast", coding = "linear" },
  { variable = "alt", coding = "linear" }, { variable = "ggt", coding = "linear" },
]
missing = "complete-case"

[[comparisons]]
name = "os-by-mvi"
endpoint = "os"
group = "mvi"
cohort = "alone"
times = [12, 36]
"""

FURTHER = """
[[endpoints]]
name = "grade"
kind = "ordinal"
columns = ["mvi_grade"]
levels = [["M0", "none"], ["M1"], ["M2"]]

[[endpoints]]
name = "ttr"
kind = "competing"
columns = ["ttr_months", "ttr_event"]
positive = ["recurrence"]
competing = ["death"]
negative = ["censored"]
unit = "months"
maximum = 60
"""
"""Endpoints of the other kinds; `further` gives the rows their columns."""

SITES = ("a", "b", "c", "d", "e", "f")
HEADER = (
    "patient_id", "cohort", "mvi", "os_months", "os_event", "age", "sex", "afp", "cirrhosis", "albumin", "platelets",
    "inr", "total_bilirubin", "ast", "alt", "ggt",
)  # fmt: skip
POLICY = 'approved_studies = ["any"]\nrelease_alone = true\n'

Row = dict[str, str]
Change = Callable[[list[Row]], None]


def rows_of(site: str, n: int = 60) -> list[Row]:
    """Simulated patients; age has as many different values as there are patients."""
    rng = np.random.default_rng(ord(site[0]))
    ages = rng.permutation(n) * 0.5 + 30
    rows = []
    for i in range(n):
        cells = [
            f"{site}-{i:03d}", "2015", str(int(rng.random() < 0.4)), str(int(rng.integers(1, 60))),
            str(int(rng.random() < 0.6)), f"{ages[i]:g}", "female" if rng.random() < 0.4 else "male",
            f"{rng.lognormal(3, 1):.1f}", "yes" if rng.random() < 0.5 else "no", f"{rng.normal(40, 4):.1f}",
            f"{rng.normal(180, 40):.0f}", f"{rng.normal(1.1, 0.1):.2f}", f"{rng.lognormal(2.6, 0.3):.1f}",
            f"{rng.lognormal(3.6, 0.4):.0f}", f"{rng.lognormal(3.6, 0.4):.0f}", f"{rng.lognormal(4, 0.5):.0f}",
        ]  # fmt: skip
        rows.append(dict(zip(HEADER, cells, strict=True)))
    return rows


def further(rows: list[Row]) -> None:
    """Add the columns of `FURTHER`: grades, and recurrence before or at the end of follow-up."""
    rng = np.random.default_rng(len(rows) + ord(rows[0]["patient_id"][0]))
    for row in rows:
        row["mvi_grade"] = ("none", "M0", "M1", "M2")[int(rng.integers(0, 2) + rng.integers(0, 3))]
        end, recurs = int(row["os_months"]), int(rng.integers(1, 60))
        row["ttr_months"] = str(min(end, recurs))
        last = "death" if row["os_event"] == "1" else "censored"
        row["ttr_event"] = "recurrence" if recurs <= end else last


def write_site(
    folder: Path, name: str, rows: Sequence[Row], policy: str = POLICY, extra: str = "", *, masked: bool = False
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "patients.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    # The attacks are tried on what is behind the masks: these must not be what the gate relies on.
    policy = policy if masked else f'masks = "off"\n{policy}'
    (folder / "site.toml").write_text(f'[site]\nname = "{name}"\nsimulated = true\n{extra}\n[policy]\n{policy}')
    (folder / "site.secret").write_text(digest(name) if masked else "5e" * 32)


def as_dict(asks: Sequence[Ask], answers: Sequence[Answer]) -> dict[str, Answer]:
    return dict(zip((ask.digest for ask in asks), answers, strict=True))


@dataclass
class Consortium:
    """Prepared sites that one study is put to; `signed` is what they signed, where they mask."""

    folders: Mapping[str, Path]
    study: Study
    ticket: Ticket = field(init=False)
    signed: tuple[SignedKey, ...] = ()

    def __post_init__(self) -> None:
        rosters = {c.name: tuple(sorted(c.sites)) for c in self.study.cohorts}
        self.ticket = Ticket("run1", study_fingerprint(self.study), rosters)

    def opening(self) -> Ask:
        return perform(Open(canonical_json(self.study.model_dump(mode="json")), code_fingerprint(), self.signed))

    def signing(self) -> Ask:
        return perform(Sign(canonical_json(self.study.model_dump(mode="json")), code_fingerprint()))

    def sign(self, *sites: str) -> Consortium:
        """Let the sites (by default all of the run) sign what the ticket says."""
        chosen = sites or self.ticket.roster("")
        self.signed = signed_keys({site: self.put(site, self.signing())[0].receipt for site in chosen})
        return self

    def open(self, *sites: str) -> Consortium:
        for site in sites or SITES:
            assert not self.put(site, self.opening())[0].error
        return self

    def message(self, *asks: Ask) -> Packed:
        return write_envelope(self.ticket, asks)

    def put(self, site: str, *asks: Ask) -> list[Answer]:
        """The answers; raises where the site refuses the message as a whole."""
        return read_answers(answer_message(self.folders[site], self.message(*asks)), self.ticket, asks, site)

    def number(self, site: str, ask: Ask) -> int:
        """The number of the error that a question meets, 0 if it is answered."""
        try:
            return self.put(site, ask)[0].error
        except FedmviError as error:
            return error.number

    def port(self) -> SitesPort:
        sites = {name: (lambda message, f=folder: answer_message(f, message)) for name, folder in self.folders.items()}
        return SitesPort(InProcess(sites), self.ticket)

    def with_ticket(self, **changes: Any) -> Consortium:
        other = Consortium(self.folders, self.study, signed=self.signed)
        other.ticket = replace(self.ticket, **changes)
        return other

    def table(self, site: str) -> SiteTable:
        return load_prepared(load_site(self.folders[site]), self.study)

    def frame(self, site: str, recipe: Recipe, cohort: str = "train", *, took_part: bool = True) -> Frame:
        """What the recipe makes of the site's patients, without any gate; the site may be left out of what it has."""
        table, own = self.table(site), load_site(self.folders[site])

        def within(name: str) -> NDArray[np.bool_]:
            return members(own, table, self.study, self.study.cohort(name))

        by = partial(scales, self.study, site, table.labels, within)
        return recipe.apply(
            table, within(cohort), tuple(table.endpoints), scales=by, cohort=cohort if took_part else ""
        )


def make(
    folder: Path,
    change: Mapping[str, Change] | None = None,
    *,
    study: str = STUDY,
    policy: str = POLICY,
    masked: bool = False,
    sites: Sequence[str] = SITES,
) -> Consortium:
    """Write and prepare the sites; `change` edits a site's rows. Sites that mask have met."""
    protocol = parse_study(study)
    folders = {}
    for name in sites:
        rows = rows_of(name)
        (change or {}).get(name, lambda _: None)(rows)
        write_site(folder / name, name, rows, policy, masked=masked)
        prepare(load_site(folder / name), protocol)
        folders[name] = folder / name
    if masked:
        introduce(folders)
    return Consortium(folders, protocol)


def columns(study: Study, model: str) -> tuple[CodedColumn, ...]:
    return coded_columns(study, next(m for m in study.models if m.name == model).predictors)


def names(study: Study, model: str) -> tuple[str, ...]:
    return tuple(column.name for column in columns(study, model))


def recipe(study: Study, model: str) -> Recipe:
    """The recipe that a server sends for a model's patients, gaps filled where the model fills them by a number."""
    own = columns(study, model)
    named = next(m for m in study.models if m.name == model)
    middle = {column.name: sum(plausible_range(study, column)) / 2 for column in own} | {"age": 45.0}
    values = tuple(middle[column.name] if np.isfinite(middle[column.name]) else 0.0 for column in own)
    fill = (Impute(names(study, model), values),) if named.missing in ("mean", "median") else ()
    return Recipe((Select(own), *fill, Complete(names(study, model), ("mvi",))))

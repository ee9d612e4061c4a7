"""client/cohort: `fedmvi-site check`: every problem of a site's folder in one pass, worst first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from client.cohort.columns import Columns
from client.cohort.expression import read_expression
from client.cohort.limits import under_limits, without_rna
from client.cohort.problems import CellError, Problems, worst_first
from client.cohort.reading import read_patients, read_table
from client.cohort.second_readers import unread_traits
from client.cohort.sheet import read_sheet
from client.cohort.site import Site, load_site
from common.errors import FedmviError
from common.study.loader import load_study
from common.study.protocol import Study
from common.study.table import SiteTable


def check_site(folder: Path, study: Study | Path | None) -> list[FedmviError]:
    """All problems of a site, worst first (severity, number, row, column); nothing is raised.

    Without a study only site.toml, the tables' form, and the patient ids can be checked.
    """
    problems: list[FedmviError] = []
    protocol: Study | None = None
    try:
        protocol = load_study(study) if isinstance(study, Path) else study
    except FedmviError as error:
        problems.append(error)
    try:
        site = load_site(folder)
    except FedmviError as error:
        return worst_first([*problems, error])
    problems += check_form(site) if protocol is None else inspect(site, protocol)[1]
    return worst_first(problems)


def check_form(site: Site) -> list[FedmviError]:
    """What can be said of the tables without a study: encoding, rows, patient ids."""
    problems = Problems()
    sheet = read_sheet(site, problems)
    if sheet is not None:
        read_patients(Columns(site, None, sheet, problems), sheet, problems)
    return problems.found


def inspect(site: Site, study: Study) -> tuple[SiteTable, list[FedmviError]]:
    """The site's table and all its problems, worst first; with hints on what the gate would refuse."""
    table, problems = read_table(site, study)
    of_genes = Problems()
    table = replace(table, expression=read_expression(site, study, table.patients, of_genes))
    return table, worst_first(problems + of_genes.found + _hints(site, table, study))


def _hints(site: Site, table: SiteTable, study: Study) -> list[FedmviError]:
    cohorts = [cohort for cohort in study.cohorts if site.name in cohort.sites]
    if not cohorts:
        known = ", ".join(study.sites())
        return [FedmviError(209, f"site.toml: the study's sites are {known}", site=site.name)]
    if table.n == 0:
        return []
    try:
        return under_limits(site, table, study) + without_rna(site, table, study) + unread_traits(site, table, study)
    except FedmviError as error:
        return [error]


def as_json(problem: FedmviError) -> dict[str, object]:
    """One problem for `--json`. It holds the local text: for this machine only, never for the wire."""
    found: dict[str, object] = {
        "number": problem.number,
        "code": problem.code,
        "severity": problem.severity.name.lower(),
        "what": problem.what,
        "do": problem.do,
        "local": problem.local,
        "facts": dict(problem.facts),
    }
    if isinstance(problem, CellError):
        place = problem.place
        found |= {"file": place.file or None, "row": place.row or None, "column": place.column or None}
    return found

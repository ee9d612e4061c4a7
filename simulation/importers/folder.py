"""simulation: writes folders of simulated sites, the same way for every importer and for synthetic hospitals.

Each site is what `fedmvi-site` expects: `site.toml`, `patients.csv`, `site.secret`. The secret of a real site is
random (`fedmvi-site init` draws it). Here it is a hash of public names, so that splits and folds drawn from it,
and with them a whole run on imported data, come out the same on every machine. Such a secret protects nothing,
which is why these sites are marked `simulated = true`.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from common.errors import FedmviError
from simulation.importers.source import Action, SourceFile, Tally

SITE_TOML = """\
# {about}
# This site is simulated: its data are public or made up, and its policy is laxer than a hospital's should be.

[site]
name = "{name}"
simulated = true

[policy]
# A real site lists the fingerprints of the studies that it has read and approved.
approved_studies = ["any"]
# A cohort of fewer than three sites cannot be summed; such sites are answered one by one, which each must allow.
# A real site decides this for itself.
release_alone = true
"""
LEAST = "min_patients = {least}\n"
"""A line of the policy."""


@dataclass(frozen=True)
class SiteRows:
    """The patient table of one site, ready to be written.

    Attributes
    ----------
    name
        The site's name in studies.
    header
        Column names; `patient_id` first.
    rows
        One tuple of cells a patient.
    members
        What was joined in it, such as the centres of a pooled site; empty where it is one centre.
    classes
        Patients per class of the main endpoint, for the report.
    min_patients
        What the site's policy says; it says nothing where absent.
    """

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    members: tuple[str, ...] = ()
    classes: Mapping[str, int] = field(default_factory=dict)
    min_patients: int | None = None


@dataclass(frozen=True)
class RuleCount:
    """A cleaning rule and the number of cells it was applied to."""

    variable: str
    action: Action
    text: str
    count: int


@dataclass(frozen=True)
class SiteSummary:
    """A site that was written."""

    name: str
    patients: int
    members: tuple[str, ...]
    classes: Mapping[str, int]


@dataclass(frozen=True)
class ImportReport:
    """What was read, changed and written; also kept as JSON beside the sites.

    Attributes
    ----------
    importer
        Name of the importer.
    sources
        Files that were read.
    rules
        Cleaning rules in force, with counts (0 included).
    sites
        Sites that were written, in order.
    notes
        Decisions that a reader of a report must know.
    """

    importer: str
    sources: tuple[SourceFile, ...]
    rules: tuple[RuleCount, ...]
    sites: tuple[SiteSummary, ...]
    notes: tuple[str, ...]

    def as_json(self) -> str:
        """The report as canonical JSON: sorted keys, no times, no paths."""
        return json.dumps(asdict(self), sort_keys=True, indent=2, ensure_ascii=False) + "\n"


def rule_counts(tally: Tally) -> tuple[RuleCount, ...]:
    """The rules of a tally with their counts, in the order of declaration."""
    return tuple(RuleCount(r.variable, r.action, r.text, tally[r.key]) for r in tally.rules)


def refuse_filled(out: Path) -> None:
    """Refuse a target that holds anything.

    Raises
    ------
    FedmviError
        213
    """
    if out.is_symlink() or (out.exists() and (not out.is_dir() or any(out.iterdir()))):
        raise FedmviError(213, str(out))


def write_sites(
    out: Path,
    importer: str,
    sites: Sequence[SiteRows],
    *,
    about: str,
    sources: tuple[SourceFile, ...] = (),
    rules: tuple[RuleCount, ...] = (),
    notes: tuple[str, ...] = (),
    record: str = "import.json",
    fill: Callable[[Path], None] | None = None,
) -> ImportReport:
    """Write all sites under `out`, or nothing.

    The folder is made under another name and renamed at the end, so an interrupted import leaves no half of one.

    Parameters
    ----------
    out
        Target folder; absent or empty.
    importer
        Name of what made the sites; part of each site's secret.
    sites
        The tables.
    about
        First comment line of every site.toml.
    sources, rules, notes
        For the report.
    record
        Name of the JSON report in `out`.
    fill
        Writes what else belongs beside the tables, such as images; given the folder of the sites as long as that has
        another name.

    Raises
    ------
    FedmviError
        213 where the target is not empty; 210 where two sites have one name.
    """
    refuse_filled(out)
    names = [site.name for site in sites]
    for name in names:
        if names.count(name) > 1:
            raise FedmviError(210, site=name)
    report = ImportReport(
        importer=importer,
        sources=sources,
        rules=rules,
        sites=tuple(SiteSummary(s.name, len(s.rows), s.members, dict(s.classes)) for s in sites),
        notes=notes,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f".{out.name}.partial"
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir()
    try:
        for site in sites:
            _write_site(partial / site.name, importer, site, about)
        introduce({name: partial / name for name in names})
        (partial / record).write_text(report.as_json(), encoding="utf-8", newline="\n")
        if fill is not None:
            fill(partial)
    except BaseException:
        # Also when somebody stops it: nothing half made is left for anybody to take for whole.
        shutil.rmtree(partial)
        raise
    partial.replace(out)
    return report


def _write_site(folder: Path, importer: str, site: SiteRows, about: str) -> None:
    folder.mkdir()
    text = SITE_TOML.format(about=about, name=site.name)
    text += "" if site.min_patients is None else LEAST.format(least=site.min_patients)
    (folder / "site.toml").write_text(text, encoding="utf-8", newline="\n")
    with (folder / "patients.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(site.header)
        writer.writerows(site.rows)
    secret = folder / "site.secret"
    secret.touch(mode=0o600)
    secret.write_text(simulated_secret(importer, site.name) + "\n", encoding="ascii", newline="\n")


def introduce(folders: Mapping[str, Path]) -> None:
    """Let sites trust each other's keys, as hospitals do among themselves, so that they can mask their sums."""
    # Loaded here: the command line only wants to know which importers there are.
    from client.cohort.site import load_site
    from client.release.keys import PEERS, own_key, write_peers

    keys = {name: own_key(load_site(folder)) for name, folder in folders.items()}
    for name, folder in folders.items():
        write_peers(folder / PEERS, {peer: key for peer, key in keys.items() if peer != name})


def simulated_secret(importer: str, site: str) -> str:
    """The reproducible secret of a simulated site: HMAC-SHA256 over its name, keyed by the importer's, as hex."""
    key = f"fedmvi simulated site/{importer}".encode()
    return hmac.new(key, site.encode(), hashlib.sha256).hexdigest()

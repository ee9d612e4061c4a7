"""client/release: the commands `fedmvi-site ledger ...`: what left this hospital, and whether the record is whole."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from common.terminal import EXIT_PROBLEMS, out, print_json

if TYPE_CHECKING:
    from client.cohort.site import Site
    from client.release.countersigned import Countersigned
    from client.release.extracts import Chosen
    from client.release.ledger import LedgerState

SiteFolder = Annotated[Path, typer.Option("--site", help="The site's folder, the one with site.toml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Study = Annotated[str, typer.Option(help="Only of this study: its file, or its fingerprint (8 digits or more).")]
_DIGITS = re.compile(r"[0-9a-f]{8,64}")
Since = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only since this day.")]


def add_commands(app: typer.Typer) -> None:
    """Add `ledger` and its commands."""
    ledger = typer.Typer(help="What left this hospital, when, and for which study.", no_args_is_help=True)
    ledger.command(epilog="Example: fedmvi-site ledger show --site hospital-a")(show)
    ledger.command(epilog="Example: fedmvi-site ledger verify --site hospital-a")(verify)
    ledger.command(epilog="Example: fedmvi-site ledger export --out ledger.csv --since 2026-01-01 --site hospital-a")(
        export
    )
    app.add_typer(ledger, name="ledger")


def show(site: SiteFolder = Path(), study: Study = "", since: Since = None, json_: AsJson = False) -> None:
    """List everything that left, oldest first."""
    from client.cohort.site import load_site
    from client.release.ledger import Ledger, ledger_file

    chosen = _chosen(study, since)
    entries = [entry for entry in Ledger(ledger_file(load_site(site))).entries() if chosen.has(entry)]
    if json_:
        print_json(entries)
        return
    for entry in entries:
        out.print(escape(_line(entry)))
    out.print(f"{len(entries)} releases")


def _line(entry: dict[str, Any]) -> str:
    """One entry for people; entries that other programs of the site made have fewer fields."""
    repeat = " (repeat)" if entry.get("repeat") else ""
    patients = f", of {entry['counted']} patients" if "counted" in entry else ""
    return (
        f"{entry.get('time', '')}  {entry.get('run_id', '')}  {entry.get('mode', ''):<5} "
        f"{entry.get('bytes', 0):>8} bytes  {entry.get('words', '')}{patients}{repeat}"
    )


def verify(
    site: SiteFolder = Path(),
    file: Annotated[
        Path | None, typer.Option(help="Check an exported copy or extract instead, wherever it came from.")
    ] = None,
    json_: AsJson = False,
) -> None:
    """Check the chain of hashes: a changed, removed or inserted line is found, and lines cut off the end.

    Lines at the end are missed as far as the coordinator has countersigned the ledger; it does so with every message.
    Exit code 1 if anything is wrong.
    """
    if file is not None:
        _verify_copy(file, json_)
        return
    from client.cohort.site import load_site
    from client.release.countersigned import read_countersigned
    from client.release.ledger import Ledger, ledger_file

    loaded = load_site(site)
    state = Ledger(ledger_file(loaded)).verify()
    countersigned = read_countersigned(loaded)
    missing = countersigned is not None and not _has(loaded, state, countersigned)
    stranger = countersigned is not None and _stranger(loaded, countersigned)
    if json_:
        lines = countersigned.signed.head.lines if countersigned else 0
        print_json({"lines": state.lines, "head": state.head, "broken_at": state.broken_at or None,
                    "cut": list(state.cut), "countersigned": lines, "countersigned_line_missing": missing,
                    "countersigned_by_stranger": stranger})  # fmt: skip
    else:
        _print_state(state, countersigned, missing=missing, stranger=stranger)
    if state.broken_at or missing or stranger:
        raise typer.Exit(EXIT_PROBLEMS)


def _print_state(state: LedgerState, countersigned: Countersigned | None, *, missing: bool, stranger: bool) -> None:
    if state.broken_at:
        out.print(f"The chain is broken at line {state.broken_at}; {state.lines} lines before it are whole.")
    else:
        cut = f" but {len(state.cut)} that a crash cut short ({_listed(state.cut)})" if state.cut else ""
        out.print(f"{state.lines} lines, all whole{cut}; head {state.head}")
    if countersigned is None:
        out.print("Not countersigned yet: nobody would notice if lines had been cut off the end.")
    elif stranger:
        out.print("The countersigned head is signed by another key than that of this site's coordinator.")
    elif missing:
        out.print(
            f"The coordinator has countersigned line {countersigned.signed.head.lines}, which this ledger does not "
            "have: lines were cut off its end, or it was written anew."
        )
    else:
        out.print(f"Countersigned by the coordinator up to line {countersigned.signed.head.lines}.")


def _listed(lines: tuple[int, ...]) -> str:
    return "line " + ", ".join(map(str, lines))


def _has(site: Site, state: LedgerState, countersigned: Countersigned) -> bool:
    """Whether the countersigned line is in the ledger, as far as the chain is whole."""
    from client.release.ledger import Ledger, ledger_file

    head = countersigned.signed.head
    before_the_break = not state.broken_at or head.lines < state.broken_at
    return before_the_break and Ledger(ledger_file(site)).find(head) is not None


def _stranger(site: Site, countersigned: Countersigned) -> bool:
    """Whether another key than the coordinator's signed the head."""
    from client.node.enrolment import is_enrolled, load_enrolment

    return is_enrolled(site) and load_enrolment(site).coordinator != countersigned.coordinator


def _verify_copy(file: Path, json_: bool) -> None:
    from client.release.extracts import verify_copy

    state = verify_copy(file)
    if json_:
        print_json({"lines": state.lines, "head": state.head, "broken_at": state.broken_at or None,
                    "extract": state.extract, "gaps": state.gaps})  # fmt: skip
    elif state.broken_at:
        out.print(f"Line {state.broken_at} of the file is not whole; {state.lines} before it are.")
    elif state.extract:
        out.print(f"An extract: {state.lines} lines, all whole, with {state.gaps} gap(s) where lines were left out.")
    else:
        out.print(f"{state.lines} lines, all whole; head {state.head}")
    if state.broken_at:
        raise typer.Exit(EXIT_PROBLEMS)


def export(
    out_: Annotated[
        Path,
        typer.Option("--out", help="The file: .jsonl (lines as they are, which can be verified) or .csv (a table)."),
    ],
    site: SiteFolder = Path(),
    study: Study = "",
    since: Since = None,
) -> None:
    """Write a copy of the ledger for the data-protection officer: the whole chain, or an extract of it."""
    from client.cohort.site import load_site
    from client.release.extracts import FORMATS
    from client.release.ledger import Ledger, ledger_file
    from common.files import write_whole

    if out_.suffix not in FORMATS:
        raise typer.BadParameter(f"the name must end in {' or '.join(FORMATS)}", param_hint="--out")
    loaded = load_site(site)
    content = FORMATS[out_.suffix](Ledger(ledger_file(loaded)), loaded.name, _chosen(study, since))
    write_whole(out_, content)
    out.print(f"wrote {escape(str(out_))}")
    if out_.suffix != ".csv":
        out.print(f"Check it anywhere with `fedmvi-site ledger verify --file {escape(str(out_))}`.")


def _fingerprint(study: str) -> str:
    """What was meant; never one that no line can have, as a list without lines would say that nothing left."""
    if not study or _DIGITS.fullmatch(study):
        return study
    if not Path(study).is_file():
        raise typer.BadParameter("name the study's file, or 8 digits of its fingerprint", param_hint="--study")
    from common.study.fingerprint import study_fingerprint
    from common.study.loader import load_study

    return study_fingerprint(load_study(Path(study)))


def _chosen(study: str, since: datetime | None) -> Chosen:
    from client.release.extracts import Chosen

    return Chosen(_fingerprint(study), since.date().isoformat() if since else "")

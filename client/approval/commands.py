"""client/approval: the commands by which a hospital decides: preview, approve, disapprove, sheet, withdraw."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from common.errors import FedmviError
from common.terminal import EXIT_PROBLEMS, err, out, print_json

if TYPE_CHECKING:
    from client.approval.holdings import Holdings
    from client.approval.telling import CohortLines, Told
    from client.approval.withdrawal import Withdrawn
    from client.cohort.site import Site

SiteFolder = Annotated[Path, typer.Option("--site", help="The site's folder, the one with site.toml.")]
StudyFile = Annotated[Path, typer.Argument(help="The study's protocol.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
By = Annotated[str, typer.Option("--by", help="Who decides; stands in the record and on the sheet.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to `fedmvi-site`."""
    app.command(name="preview", epilog="Example: fedmvi-site preview study.toml --site hospital-a")(preview_command)
    app.command(
        name="approve", epilog='Example: fedmvi-site approve study.toml --site hospital-a --by "Dr. A. Example"'
    )(approve_command)
    app.command(name="disapprove", epilog="Example: fedmvi-site disapprove study.toml --site hospital-a")(
        disapprove_command
    )
    app.command(name="sheet", epilog="Example: fedmvi-site sheet study.toml --out sheet.html --site hospital-a")(
        sheet_command
    )
    app.command(name="withdraw", epilog="Example: fedmvi-site withdraw P0042 --site hospital-a --yes")(withdraw_command)


def preview_command(study: StudyFile, site: SiteFolder = Path(), json_: AsJson = False) -> None:
    """List what could leave this site for a study, before anything does: no network, nothing is recorded.

    The study's parts are held against the gate that stands before every question, and against the prepared data if
    there are some. Exit code 1 if the site would refuse a part of the study now.
    """
    from client.approval.approve import read_protocol
    from client.approval.telling import tell
    from client.cohort.site import load_site

    here = load_site(site)
    told = tell(here, read_protocol(study)[0])
    if json_:
        print_json(_as_json(told))
    else:
        _print_head(told)
        for cohort in told.cohorts:
            _print_cohort(cohort)
        _print_refusals(told)
        if not {told.fingerprint, "any"} & set(here.policy.approved_studies):
            out.print("Not approved yet: until `fedmvi-site approve` every question of it is refused (FEDMVI-401).")
    if told.refusals:
        raise typer.Exit(EXIT_PROBLEMS)


def _as_json(told: Told) -> dict[str, Any]:
    releases = [{**asdict(release), "declared": release.declared} for release in told.foreseen.releases]
    cohorts = [asdict(cohort) for cohort in told.foreseen.cohorts]
    return {"site": told.site, "study": told.name, "fingerprint": told.fingerprint, "unprepared": told.unprepared,
            "cohorts": cohorts, "releases": releases, "refusals": list(told.refusals)}  # fmt: skip


def _print_head(told: Told) -> None:
    out.print(f"[bold]{escape(told.title)}[/] ({escape(told.name)}) at {escape(told.site)}")
    if told.simulated:
        out.print("Simulated: the data of this study or site are made up or public.")
    if told.purpose:
        # In one line: a study's own words must not look like lines of ours.
        out.print(escape(" ".join(told.purpose.split())))
    for name, value in told.consortium.items():
        out.print(f"  {name}: {escape(value)}")
    for name, value in told.statements:
        out.print(f"  The authors state, {name[:1].lower() + name[1:]}: {escape(' '.join(value.split()))}")
    out.print(f"  Fingerprint: {told.fingerprint}")


def _print_cohort(cohort: CohortLines) -> None:
    closed = "; endpoints closed until models are frozen" if cohort.closed else ""
    where = f"{cohort.role}; {cohort.sites} sites; patients here: {cohort.patients}{closed}"
    out.print(f"\n[bold]{escape(cohort.name)}[/] ({escape(where)})")
    for line in cohort.lines:
        refused = f" [yellow]refused now: {line.refused}[/]" if line.refused else ""
        out.print(f"  {escape(line.words)}{refused}")
        facts = "; ".join(part for part in (line.kind, line.how, line.size, f"for {line.parts}") if part)
        out.print(f"    [dim]{escape(facts)}[/]")
    if cohort.also:
        out.print(f"  [dim]Not needed by this study, and answered under the same limits: {len(cohort.also)} kind(s) "
                  "of question that every study may ask (`--json` lists them).[/]")  # fmt: skip


def _print_refusals(told: Told) -> None:
    out.print("")
    if told.unprepared:
        out.print(f"The data were not looked at: {escape(told.unprepared)}")
    if told.refusals:
        out.print("[yellow]Under the policy and data of today this site would refuse:[/]")
        for sentence in told.refusals:
            out.print(f"  {escape(sentence)}")
    elif not told.unprepared:
        out.print("Under the policy and data of today no part of the study would be refused.")


def approve_command(
    study: StudyFile,
    site: SiteFolder = Path(),
    by: By = "",
    yes: Yes = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take the approval back, as `disapprove` does.")] = False,
) -> None:
    """Show in words what a study asks of this site, and approve it; writes a data-protection sheet to sign.

    The study's fingerprint is entered in site.toml; the record, the protocol and the sheet are in store/approvals.
    Exit code 1 if you do not confirm.
    """
    if withdraw:
        disapprove_command(str(study), site, by)
        return
    from client.approval.approve import approve, read_protocol
    from client.approval.telling import tell
    from client.cohort.site import load_site

    here = load_site(site)
    protocol, content = read_protocol(study)
    told = tell(here, protocol)
    _print_head(told)
    _print_decision(told)
    if not yes:
        typed = typer.prompt(f"\nType the study's name, {told.name}, to approve it", default="", show_default=False)
        if typed.strip() != told.name:
            out.print("Not approved; nothing was changed.")
            raise typer.Exit(EXIT_PROBLEMS)
    try:
        done = approve(here, protocol, content, told, by)
    except FedmviError as error:
        if error.number == _BY_HAND:
            out.print(f"Enter this line under [policy] in site.toml yourself:\n{error.local}", markup=False)
        raise
    out.print(f"{'Approved' if done.fresh else 'Was approved before'}: {done.fingerprint}")
    out.print(f"Data-protection sheet, to print and sign: {escape(str(done.sheet))}")


_BY_HAND = 760


def _print_decision(told: Told) -> None:
    """What a person needs to decide; all kinds of answers are in `preview` and on the sheet."""
    sections: list[tuple[str, list[str]]] = [
        ("Read here, and staying here", [f"{name}: {value}" for name, value in told.uses]),
        ("Cohorts of this site", [_cohort_words(cohort) for cohort in told.cohorts]),
        ("What leaves", list(told.leaves)),
        ("What never leaves", list(told.stays)),
        ("Limits in force", [f"{name}: {value}" for name, value in told.limits]),
        ("Decided here before", list(told.decisions)),
    ]
    for title, sentences in sections:
        if sentences:
            out.print(f"\n[bold]{title}[/]")
            for sentence in sentences:
                out.print(f"  - {escape(sentence)}")
    _print_refusals(told)


def _cohort_words(cohort: CohortLines) -> str:
    closed = "; endpoints closed until models are frozen" if cohort.closed else ""
    here = f"{cohort.sites} sites; patients here: {cohort.patients}; {len(cohort.lines)} kinds of answers"
    return f"{cohort.name}: {cohort.role}; {here}{closed}"


def disapprove_command(
    study: Annotated[str, typer.Argument(help="The study's protocol, or its fingerprint.")],
    site: SiteFolder = Path(),
    by: By = "",
) -> None:
    """Take an approval back: from the next question on nothing of the study is answered, in open runs too."""
    from client.approval.approve import disapprove
    from client.cohort.site import load_site

    try:
        fingerprint = disapprove(load_site(site), study, by)
    except FedmviError as error:
        if error.number == _BY_HAND:
            out.print(f"Enter this line under [policy] in site.toml yourself:\n{error.local}", markup=False)
        raise
    out.print(f"No longer approved: {fingerprint}. Runs in progress are refused from now on (FEDMVI-401).")


def sheet_command(
    study: StudyFile,
    out_: Annotated[Path, typer.Option("--out", help="The page to write.")],
    site: SiteFolder = Path(),
    by: By = "",
) -> None:
    """Write the data-protection sheet of a study at this site: a page to print, read and sign. Approves nothing."""
    from client.approval.approve import plain, read_protocol
    from client.approval.sheet import write_sheet
    from client.approval.telling import tell
    from client.cohort.site import load_site

    write_sheet(out_, tell(load_site(site), read_protocol(study)[0]), plain(by))
    out.print(f"wrote {escape(str(out_))}")


def withdraw_command(
    patient: Annotated[str, typer.Argument(help="The patient's id, as patients.csv has it.")],
    site: SiteFolder = Path(),
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only list what there is.")] = False,
    json_: AsJson = False,
) -> None:
    """Remove a patient who withdrew consent from everything that is kept here, for good. Lists it first; --yes does it.

    May be ended at any moment: the same command completes it. Exit code 1 if prepared data could not be made again.
    """
    from client.approval.holdings import holdings
    from client.approval.withdrawal import withdraw
    from client.cohort.site import load_site

    here = load_site(site)
    if not yes:
        found = holdings(here, patient)
        if not found.anything:
            raise FedmviError(764)
        if json_:
            print_json(asdict(found))
        else:
            _print_holdings(found)
        return
    done = withdraw(here, patient, lambda step: err.print(f"- {escape(step)}"))
    if json_:
        print_json(asdict(done))
    else:
        _print_withdrawn(here, done)
    if done.unprepared:
        raise typer.Exit(EXIT_PROBLEMS)


def _print_holdings(found: Holdings) -> None:
    out.print("Would be done, and has not been; `--yes` does it:")
    listed = "is entered there already" if found.listed else "the patient is entered there, and never comes back"
    out.print(f"  withdrawn.csv: {listed}")
    out.print(f"  prepared data: {len(found.prepared)} store(s) hold the patient, and are made again without")
    out.print(f"  images: {'steps of the preparation are removed' if found.steps else 'no steps are kept'}")
    out.print(f"  runs: {len(found.runs)} were opened over these data; their stored answers, and the scores and "
              "pictures that networks made in them, are removed; they cannot go on")  # fmt: skip
    for run in found.runs:
        out.print(f"    {escape(run)}")
    out.print("  the local log, which may name patients, is emptied")
    out.print("  the ledger gets a line, which does not name the patient")
    out.print("Not touched: patients.csv, images, masks and other files of yours; sums that left before.")


def _print_withdrawn(site: Site, done: Withdrawn) -> None:
    out.print("The patient is removed from everything that FedMVI keeps here, and does not come back.")
    for name in done.prepared:
        out.print(f"  prepared again without the patient: {escape(name)}")
    for line in done.unprepared:
        err.print(f"  [yellow]not prepared again:[/] {escape(line)}")
    out.print("Yours to delete: the row in patients.csv, images, masks, pages that you wrote, and backups.")
    if not done.runs:
        return
    limit = site.policy.min_patients
    out.print("\n[bold]Runs that cannot go on here[/] (FEDMVI-410: the data changed)")
    for run in done.runs:
        out.print(f"  {escape(run)}")
    out.print("What left before cannot be taken back. There is a choice, and it is this hospital's:")
    out.print(
        "  1. The coordinator starts a new run. Over nearly the same patients this site refuses it (FEDMVI-420): fewer "
        f"than {limit} patients differ, and an old sum less the new one would be the patient who left. It answers "
        "again when enough other patients have changed."
    )
    out.print(
        "  2. This hospital decides that what the difference tells may be told, and lists the earlier runs in "
        "`allow_differences` under [policy] in site.toml. Ask your data-protection officer first."
    )
    out.print("  3. This hospital leaves the study: `fedmvi-site disapprove STUDY`.")

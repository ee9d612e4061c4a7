"""client/node: the commands `fedmvi-site enrol` and `connect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from common.terminal import EXIT_PROBLEMS, out, print_json

if TYPE_CHECKING:
    from client.node.connection import Step
    from client.node.enrolment import Enrolment

SiteFolder = Annotated[Path, typer.Option("--site", help="The site's folder, the one with site.toml.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
_MARKS = {"passed": "[green]ok[/]  ", "noted": "[yellow]note[/]", "failed": "[red]no[/]  ", "not tried": "-   "}
"""By the value of a step's state."""


def add_commands(app: typer.Typer) -> None:
    """Add the commands to `fedmvi-site`."""
    app.command(name="enrol", epilog="Example: fedmvi-site enrol hospital-a.kit --site hospital-a")(_enrol)
    app.command(name="connect", epilog="Example: fedmvi-site connect --site hospital-a")(_connect)


def _enrol(
    kit: Annotated[Path, typer.Argument(help="The start-up kit that the coordinator sent.")],
    site: SiteFolder = Path(),
    passphrase_file: Annotated[
        Path | None, typer.Option(help="File with the passphrase; without it you are asked.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not test the connection to the hub.")] = False,
    json_: AsJson = False,
) -> None:
    """Install the coordinator's kit, and test the way to the hub step by step.

    Exit code 1 if a step failed: the enrolment is installed then, and `fedmvi-site connect` tests again.
    """
    from client.cohort.site import ENROLMENT, load_site
    from client.node.enrolling import enrol
    from client.node.enrolment import is_enrolled
    from common.deployment.passphrases import ask_passphrase

    loaded = load_site(site)
    again = is_enrolled(loaded)
    enrolment = enrol(loaded, kit, ask_passphrase(kit, passphrase_file))
    if not json_:
        place = site / ENROLMENT
        out.print(
            f"{escape(enrolment.site)} is enrolled in {escape(enrolment.consortium)} until {enrolment.expires}; "
            f"keys are in {escape(str(place))}, and {escape(str(place / 'README.md'))} says what comes next."
        )
    passed = offline or _test(enrolment, json_=json_)
    if offline and json_:
        print_json(_described(enrolment, []))
    if not json_ and again:
        out.print("Next: nothing, if `fedmvi-site start` runs: it takes the new keys up within seconds. Else start it.")
    elif not json_:
        out.print("Next: `fedmvi-site key`; give that key to the other hospitals yourself, no kit may do it for you.")
    if not passed:
        raise typer.Exit(EXIT_PROBLEMS)


def _connect(site: SiteFolder = Path(), json_: AsJson = False) -> None:
    """Test the way to the hub step by step: name, port, certificates, clock, key, versions. Nothing is changed.

    Exit code 1 if a step failed.
    """
    from client.cohort.site import load_site
    from client.node.enrolling import verify_enrolment
    from client.node.enrolment import load_enrolment

    enrolment = load_enrolment(load_site(site))
    verify_enrolment(enrolment)
    if not _test(enrolment, json_=json_):
        raise typer.Exit(EXIT_PROBLEMS)


def _test(enrolment: Enrolment, *, json_: bool) -> bool:
    """Test the connection and print how each step went, as it goes; whether none failed."""
    from client.node.connection import connect

    steps = []
    for step in connect(enrolment):
        steps.append(step)
        if not json_:
            _print_step(step)
    if json_:
        print_json(_described(enrolment, steps))
    return not any(step.failed for step in steps)


def _print_step(step: Step) -> None:
    number = f"[bold]{step.error.code}[/] " if step.error else ""
    out.print(f"{_MARKS[step.state.value]} {step.name:<24} {number}{escape(step.words or step.state.value)}")
    if step.error is not None:
        if step.error.local:
            out.print(f"     {escape(step.error.local)}")
        out.print(f"     [bold]What to do:[/] {escape(step.error.do)}")


def _described(enrolment: Enrolment, steps: list[Step]) -> dict[str, object]:
    return {
        "site": enrolment.site,
        "consortium": enrolment.consortium,
        "hub": f"{enrolment.host}:{enrolment.port}",
        "expires": enrolment.expires.isoformat(),
        "passed": not any(step.failed for step in steps) if steps else None,
        "steps": [
            {"step": step.name, "state": step.state.value, "words": step.words}
            | ({"number": step.error.number, "detail": step.error.local, "do": step.error.do} if step.error else {})
            for step in steps
        ],
    }

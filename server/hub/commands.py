"""server/hub: the commands of `fedmvi-server` that run a hub, and hand studies to it."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from common.errors import FedmviError
from common.observing.logs import LogFormat
from common.terminal import EXIT_INTERRUPTED, EXIT_PROBLEMS, err, out, print_json
from server.publishing import publish
from server.study.action import Action

if TYPE_CHECKING:
    from server.hub.folder import Hub
    from server.hub.orders import HubRun

WATCH_SECONDS = 2.0

HubFolder = Annotated[Path, typer.Option("--hub", envvar="FEDMVI_HUB", help="The hub's folder.")]
StudyFile = Annotated[Path, typer.Argument(help="The study's protocol.")]
RunName = Annotated[str, typer.Argument(help="The run's name, as `status` lists it.")]
NewName = Annotated[str, typer.Option("--name", help="The run's name; without it, the study's.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def add_commands(app: typer.Typer) -> None:
    """Add the commands to `fedmvi-server`."""
    app.command(name="start", epilog="Example: fedmvi-server start --hub /srv/fedmvi/hub")(_start)
    app.command(name="plan", epilog="Example: fedmvi-server plan study.toml --hub /srv/fedmvi/hub")(_plan)
    app.command(name="submit", epilog="Example: fedmvi-server submit study.toml --hub /srv/fedmvi/hub")(_submit)
    app.command(name="run", epilog="Example: fedmvi-server run study.toml --hub /srv/fedmvi/hub")(_run)
    app.command(name="status", epilog="Example: fedmvi-server status --hub /srv/fedmvi/hub --watch")(_status)
    app.command(name="stop", epilog="Example: fedmvi-server stop mvi --hub /srv/fedmvi/hub")(_stop)
    app.command(name="resume", epilog="Example: fedmvi-server resume mvi --hub /srv/fedmvi/hub")(_resume)
    app.command(name="pull", epilog="Example: fedmvi-server pull mvi --hub /srv/fedmvi/hub --out mvi")(_pull)
    app.command(name="report", epilog="Example: fedmvi-server report mvi --hub /srv/fedmvi/hub")(_report)


def _start(
    hub: HubFolder,
    log_format: Annotated[LogFormat, typer.Option(help="How log lines are written.")] = LogFormat.TEXT,
) -> None:
    """Run the hub in the foreground: SuperLink, proxy and queue. It ends with Ctrl-C or SIGTERM, and all of it ends.

    Whatever dies is started again, and runs that were interrupted are taken up where they were.
    """
    from server.hub.start import start

    start(hub, log_format)


def _plan(
    study: StudyFile,
    hub: Annotated[Path | None, typer.Option("--hub", envvar="FEDMVI_HUB", help="The hub's folder.")] = None,
    name: NewName = "",
    json_: AsJson = False,
) -> None:
    """Check a protocol and say what it needs; with --hub also ask the sites for patients and events.

    Nothing is fitted, and only counts are asked.
    """
    from common.published.results import read_results
    from common.study.loader import load_study
    from server.hub.folder import load_hub
    from server.needs import print_needs
    from server.plan import print_plan

    if hub is None:
        print_needs(load_study(study), json_=json_)
        return
    run = _hand_in(load_hub(hub), study, Action.PLAN, name)
    planned = read_results(run.run.plan_file)
    if json_:
        print_json(planned.model_dump(mode="json"))
    else:
        print_plan(planned)


def _submit(study: StudyFile, hub: HubFolder, name: NewName = "", json_: AsJson = False) -> None:
    """Queue a study and return; its sites are waited for, and it goes on by itself whatever is interrupted.

    With the --name of a run (or plan) of the same study that was stopped or has failed, that one goes on from its
    journal; without, a new run is made.
    """
    from server.hub.folder import load_hub
    from server.hub.orders import State, queue_of, submit
    from server.hub.start import read_state

    known = load_hub(hub)
    run = submit(known, study, Action.RUN, name)
    place = [other.name for other in queue_of(known)].index(run.name) + 1 if run.state is State.QUEUED else 0
    if json_:
        print_json({"run": run.name, "folder": str(run.run.folder), "position": place})
        return
    out.print(f"run [bold]{escape(run.name)}[/] is queued, number {place}")
    if read_state(known) is None:
        err.print("The hub is not running; the run begins when `fedmvi-server start` does.")


def _run(study: StudyFile, hub: HubFolder, name: NewName = "", json_: AsJson = False) -> None:
    """Queue a study, watch it, and write its report. Ctrl-C leaves it running."""
    from server.hub.folder import load_hub

    run = _hand_in(load_hub(hub), study, Action.RUN, name)
    publish(run.run, json_=json_)


def _hand_in(hub: Hub, study: Path, action: Action, name: str) -> HubRun:
    """Submit and follow to the end; error 745 at once if the hub does not run."""
    from server.hub.following import follow
    from server.hub.orders import submit
    from server.hub.start import read_state

    if read_state(hub) is None:
        raise FedmviError(745, str(hub.folder))
    run = submit(hub, study, action, name)
    try:
        follow(hub, run)
    except KeyboardInterrupt:
        err.print(f"Run {escape(run.name)} goes on. Watch it: `fedmvi-server status --watch --hub {hub.folder}`.")
        err.print(f"End it: `fedmvi-server stop {escape(run.name)} --hub {hub.folder}`.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    return run


def _status(
    hub: HubFolder,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds, until Ctrl-C.")] = False,
    json_: AsJson = False,
) -> None:
    """Show the hub's health, its sites and its runs; exit code 1 if something does not serve.

    It works, with what the folder knows, where the hub does not run.
    """
    from rich.live import Live

    from server.hub.folder import load_hub
    from server.hub.showing import shown
    from server.hub.status import status_of

    known = load_hub(hub)
    status = status_of(known)
    if json_:
        print_json(status.model_dump(mode="json"))
    elif watch:
        with suppress(KeyboardInterrupt), Live(shown(status), console=out, auto_refresh=False) as live:
            while True:
                time.sleep(WATCH_SECONDS)
                status = status_of(load_hub(hub))
                live.update(shown(status), refresh=True)
    else:
        out.print(shown(status))
    if not status.health.well:
        raise typer.Exit(EXIT_PROBLEMS)


def _stop(name: RunName, hub: HubFolder) -> None:
    """Stop a run, or take it out of the queue. What was answered is kept, and `resume` goes on from there."""
    from server.hub.folder import load_hub
    from server.hub.orders import ENDED, run_named

    run = run_named(load_hub(hub), name)
    if run.state in ENDED:
        raise FedmviError(751, name=name, state=run.state.value, asked="stopped")
    run.stop()
    out.print(f"run {escape(name)} is stopped; go on with `fedmvi-server resume {escape(name)}`")


def _resume(name: RunName, hub: HubFolder) -> None:
    """Queue a run again that was stopped or has failed. It goes on from its journal, and ends with the same results."""
    from server.hub.folder import load_hub
    from server.hub.orders import State, run_named

    run = run_named(load_hub(hub), name)
    if run.state not in (State.STOPPED, State.FAILED):
        raise FedmviError(751, name=name, state=run.state.value, asked="resumed")
    run.give(run.order.action if run.order else Action.RUN)
    out.print(f"run {escape(name)} is queued again")


def _pull(
    name: RunName, hub: HubFolder, out_: Annotated[Path, typer.Option("--out", help="A new folder for the copy.")]
) -> None:
    """Copy what of a run is published: results, tables, figures, report, models. Journal and logs stay at the hub."""
    from server.hub.folder import load_hub
    from server.hub.orders import State, run_named
    from server.hub.pulling import pull

    run = run_named(load_hub(hub), name)
    if run.state not in (State.FINISHED, State.PLANNED):
        raise FedmviError(751, name=name, state=run.state.value, asked="pulled")
    copied = pull(run.run, out_)
    out.print(f"{len(copied)} files in {escape(str(out_))}")


def _report(
    run: Annotated[str, typer.Argument(help="A run's folder or, with --hub, its name.")],
    hub: Annotated[Path | None, typer.Option("--hub", envvar="FEDMVI_HUB", help="The hub's folder.")] = None,
    json_: AsJson = False,
) -> None:
    """Write report.html, figures and tables again, from results.json alone."""
    from server.hub.folder import load_hub
    from server.hub.orders import run_named
    from server.study.run_directory import RunDirectory

    publish(RunDirectory(Path(run)) if hub is None else run_named(load_hub(hub), run).run, json_=json_)

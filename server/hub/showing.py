"""server/hub: shows a hub's status to people."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from server.hub.orders import State
from server.hub.status import Health, HubStatus, RunStatus, SiteStatus

_STYLES = {
    State.RUNNING: "bold",
    State.FAILED: "red",
    State.FINISHED: "green",
    State.PLANNED: "green",
    State.STOPPED: "yellow",
    State.QUEUED: "",
}


def shown(status: HubStatus) -> RenderableType:
    """The whole status as one page."""
    parts: list[RenderableType] = [_headline(status)]
    parts += [
        Text(f"{c.holder}: the certificate expires on {c.expires} ({c.days} days): {c.do}", style="yellow")
        for c in status.certificates
    ]
    parts.append(_sites(status.sites))
    if any(site.patients for site in status.sites):
        parts.append(_patients(status.sites))
    parts += _ledgers(status)
    parts.append(_runs(status.runs) if status.runs else Text("No run was submitted yet."))
    parts += [line for run in status.runs for line in _details(run)]
    return Group(*parts)


def _headline(status: HubStatus) -> RenderableType:
    where = f"{escape(status.consortium)}: {escape(status.host)}:{status.port}"
    return Text.from_markup(f"[bold]{where}[/]  {_health(status.health)}")


def _health(health: Health) -> str:
    if not health.running:
        return "[red]the hub is not running[/]; what follows is what its folder knows"
    parts = {
        "SuperLink": health.superlink,
        "proxy": health.proxy,
        "executor": health.executor,
        "steward": health.steward,
    }
    down = [name for name, serves in parts.items() if not serves]
    if down:
        return f"[red]not serving: {', '.join(down)}[/]"
    return "[green]healthy[/]" if health.ready else "[yellow]starting[/]"


def _sites(sites: list[SiteStatus]) -> Table:
    table = Table("site", "connection", "since", "versions, as of run", "ledger", title="Sites", title_justify="left")
    for site in sites:
        connection = site.connection if site.admitted else "not admitted"
        style = {"online": "green", "offline": "red", "not admitted": "red"}.get(connection, "yellow")
        versions = f"code {site.code[:12]}, flwr {site.versions.get('flwr', '?')} ({site.run})" if site.run else ""
        lines = "" if site.ledger_lines is None else f"{site.ledger_lines} lines"
        table.add_row(escape(site.site), Text(connection, style=style), _ago(site.since), escape(versions), lines)
    return table


def _patients(sites: list[SiteStatus]) -> Table:
    cohorts = sorted({cohort for site in sites for cohort in site.patients})
    table = Table("site", *map(escape, cohorts), "as of run", title="Prepared patients", title_justify="left")
    for site in sites:
        if site.patients:
            cells = [_count(site.patients, cohort) for cohort in cohorts]
            table.add_row(escape(site.site), *cells, escape(site.counted_in))
    return table


def _count(patients: dict[str, int | None], cohort: str) -> str:
    if cohort not in patients:
        return ""
    count = patients[cohort]
    return "hidden" if count is None else str(count)


def _ledgers(status: HubStatus) -> list[RenderableType]:
    return [
        Text(f"The ledger of {site.site} is not the one that it told before ({site.ledger_troubles} times).", "red")
        for site in status.sites
        if site.ledger_troubles
    ]


def _runs(runs: list[RunStatus]) -> Table:
    table = Table("run", "state", "step", "rounds", "a round", "left", "submitted", title="Runs", title_justify="left")
    for run in runs:
        state = f"{run.state.value}, number {run.position}" if run.position else run.state.value
        rounds = f"{run.rounds} of about {run.rounds_expected}" if run.rounds_expected else str(run.rounds or "")
        table.add_row(
            escape(run.run),
            Text(state, style=_STYLES[run.state]),
            escape(run.step) if run.state is State.RUNNING else "",
            rounds,
            "" if run.seconds_a_round is None else f"{run.seconds_a_round:.1f} s",
            _left(run),
            _ago(run.submitted),
        )
    return table


def _left(run: RunStatus) -> str:
    """The time left: by an earlier run of the study, or what its protocol and the rounds so far say."""
    if run.seconds_left is not None:
        return f"about {_duration(run.seconds_left)}"
    if run.left is None:
        return ""
    if not run.left.unknown:
        least, most = _duration(run.left.least), _duration(run.left.most)
        return f"perhaps {least} to {most}" if run.left.perhaps else f"{least} to {most}"
    return f"trainings at most {_duration(run.left.trainings)}, and more" if run.left.trainings else "not known yet"


def _details(run: RunStatus) -> list[RenderableType]:
    lines: list[RenderableType] = []
    if run.waiting_for:
        names = ", ".join(run.waiting_for)
        lines.append(Text(f"{run.run}: waits for {names}, asked {_ago(run.asked_since)}"))
    if run.left is not None:
        lines += [
            Text(f"{run.run}: how long these take is not known, because {why}: {'; '.join(steps)}", style="dim")
            for why, steps in run.left.unknown.items()
        ]
    if run.left_out:
        lines.append(Text(f"{run.run}: goes on without {', '.join(run.left_out)}, which stayed away", style="yellow"))
    if run.error:
        lines.append(Text(f"{run.run}: {run.error} {run.message}", style="red"))
    return lines


def _ago(moment: str) -> str:
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    except (ValueError, TypeError):
        return ""
    return f"{_duration(max(0.0, seconds))} ago"


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

"""client/preparation: what `fedmvi-site prepare` shows: progress, who failed and why, and what was made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from client.cohort.check import as_json
from client.preparation.prepare import Prepared
from common.errors import Severity
from common.terminal import err, out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.preparation.images import PreparedImages
    from client.preparation.patient import Outcome

_MEGABYTE = 1024**2
_LISTED = 8
_RATE_OVER_S = 3600.0
"""The rate is that of the last hour: a patient may take minutes, and one alone has no rate."""


class _Rate(ProgressColumn):
    """Patients a minute."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed * 60:.1f} patients/min")


@contextmanager
def image_progress() -> Iterator[Callable[[int, int, Outcome | None], None]]:
    """A bar on standard error, from the first patient on, with the rate and the time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=err, speed_estimate_period=_RATE_OVER_S) as bar:
        task = bar.add_task("Images", total=None, visible=False)
        failed = 0

        def note(done: int, total: int, outcome: Outcome | None) -> None:
            nonlocal failed
            failed += outcome is not None and outcome.failed
            words = "Images" if not failed else f"Images ({failed} failed)"
            bar.update(task, completed=done, total=total, visible=True, description=words)

        yield note


def print_images(done: Prepared) -> None:
    """What came of the images: who failed and why, what a person should look at, and what it took."""
    if done.images is None:
        return
    _print_failures(done.images)
    _print_flags(done.images)
    outcomes = done.images.outcomes
    usable = len(outcomes) - len(done.images.failed)
    out.print(f"Images of {usable} of {len(outcomes)} eligible patients are prepared.")
    seconds: dict[str, float] = {}
    for outcome in outcomes:
        for step, took in outcome.seconds.items():
            seconds[step] = seconds.get(step, 0.0) + took
    if seconds:
        words = ", ".join(f"{step} {took:.0f} s" for step, took in seconds.items())
        peak = max(outcome.peak_bytes for outcome in outcomes) / _MEGABYTE
        out.print(f"Time in steps: {words}; largest process {peak:.0f} MiB.")


def _print_failures(images: PreparedImages) -> None:
    if not images.failed:
        return
    out.print("[bold]Patients whose images could not be prepared:[/]")
    for outcome in images.outcomes:
        for problem in outcome.problems if outcome.failed else ():
            if problem.severity is Severity.ERROR:
                out.print(f"[red]{escape(outcome.patient)}[/] [bold]{problem.code}[/] {escape(problem.what)}")
                out.print(f"    {escape(problem.local.removeprefix(f'{outcome.patient}: '))}")
                out.print(f"    What to do: {escape(problem.do)}")
    out.print(
        f"They stay in the table ({len(images.failed)}) and count as excluded for their images. Mend what is named and "
        "run the command again: the others are not prepared anew."
    )


def _print_flags(images: PreparedImages) -> None:
    """For every kind of warning or note who has it: `--json` has the words of each."""
    flagged: dict[tuple[int, str], list[str]] = {}
    for outcome in (outcome for outcome in images.outcomes if not outcome.failed):
        for problem in outcome.problems:
            who = flagged.setdefault((problem.number, f"[bold]{problem.code}[/] {escape(problem.what)}"), [])
            who += [outcome.patient] if outcome.patient not in who else []
    for (_, words), who in sorted(flagged.items()):
        more = f" and {len(who) - _LISTED} more" if len(who) > _LISTED else ""
        out.print(f"[yellow]flagged[/] {words} {escape(', '.join(who[:_LISTED]))}{more}")
    if flagged:
        out.print("`--json` says of each what was found.")


def images_json(done: Prepared) -> dict[str, Any] | None:
    """The same for programs."""
    if done.images is None:
        return None
    return {
        "prepared": len(done.images.outcomes) - len(done.images.failed),
        "failed": {o.patient: [as_json(p) for p in o.problems] for o in done.images.outcomes if o.failed},
        "flagged": {
            o.patient: [as_json(p) for p in o.problems] for o in done.images.outcomes if not o.failed and o.problems
        },
        "computed_s": {o.patient: dict(o.seconds) for o in done.images.outcomes if o.seconds},
    }

"""client/preparation: what `fedmvi-site prepare` shows: progress, who failed and why, and what was made."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from client.cohort.check import as_json
from client.preparation.prepare import Prepared
from common.terminal import err, out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.preparation.patient import Outcome

_MEGABYTE = 1024**2


class _Rate(ProgressColumn):
    """Patients a minute."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed * 60:.1f} patients/min")


@contextmanager
def image_progress() -> Iterator[Callable[[int, int, Outcome], None]]:
    """A bar on standard error, from the first patient on, with the rate and the time left."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=err) as bar:
        task = bar.add_task("Images", total=None, visible=False)
        failed = 0

        def note(done: int, total: int, outcome: Outcome) -> None:
            nonlocal failed
            failed += outcome.failed
            words = "Images" if not failed else f"Images ({failed} failed)"
            bar.update(task, completed=done, total=total, visible=True, description=words)

        yield note


def print_failures(done: Prepared) -> None:
    """A table of the patients whose images could not be prepared: who, why, and what to do."""
    if done.images is None or not done.images.failed:
        return
    table = Table(title="Images that could not be prepared", title_justify="left", show_lines=True)
    for column in ("Patient", "Problem", "Where", "What to do"):
        table.add_column(column, overflow="fold")
    for outcome in done.images.outcomes:
        for number, problem in enumerate(outcome.problems if outcome.failed else ()):
            where = problem.local.removeprefix(f"{outcome.patient}: ")
            table.add_row(
                escape(outcome.patient) if number == 0 else "",
                f"{problem.code} {escape(problem.what)}",
                escape(where),
                escape(problem.do),
            )
    out.print(table)
    out.print(
        f"{len(done.images.failed)} patients stay in the table and count as excluded for their images. Mend what is "
        "named and run the command again: the others are not prepared anew."
    )


def print_made(done: Prepared) -> None:
    """What was computed, and what it took."""
    if done.images is None:
        return
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


def images_json(done: Prepared) -> dict[str, Any] | None:
    """The same for programs."""
    if done.images is None:
        return None
    return {
        "prepared": len(done.images.outcomes) - len(done.images.failed),
        "failed": {o.patient: [as_json(p) for p in o.problems] for o in done.images.outcomes if o.failed},
        "computed_s": {o.patient: dict(o.seconds) for o in done.images.outcomes if o.seconds},
    }

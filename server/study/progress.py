"""server/study: how far a run is, in a file of its directory that anybody may read while the run goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from common.federation.codec import Packed
from common.federation.ports import Transport

KEPT_SECONDS = 9
"""Of so many rounds of a step, the latest ones, the seconds are kept: what a round takes now is their median."""
WRITE_SECONDS = 0.5
"""Between two answers of a round the file is not written more often than this."""


class Taken(BaseModel):
    """What a step has taken, over all attempts: rounds, and the seconds of the latest of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rounds: int = 0
    seconds: tuple[float, ...] = ()


class Progress(BaseModel):
    """How far a run is. Times are UTC; rounds are those that every site has answered."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    started: str
    step: str = ""
    step_since: str = ""
    rounds: int = 0
    rounds_before: int = 0
    """Rounds that were answered before this attempt."""
    round_seconds: float = 0.0
    """Seconds that the answered rounds of this attempt took together."""
    steps: dict[str, Taken] = {}
    """By step, those in which a round was answered."""
    asked_since: str = ""
    """Since when the round is under way that is now; "" between two rounds."""
    waiting_for: tuple[str, ...] = ()
    """Sites that have not answered the round that is under way."""
    updated: str = ""


def read_progress(path: Path) -> Progress | None:
    """The progress that is kept in a file; None where there is none that can be read."""
    try:
        return Progress.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


class ProgressFile:
    """Writes `Progress` as a run goes on; a run that is taken up again counts on from what it finds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        earlier = read_progress(path)
        before = 0 if earlier is None else earlier.rounds_before + earlier.rounds
        steps = {} if earlier is None else earlier.steps
        self._now = Progress(started=_now(), rounds_before=before, steps=steps)
        self._asked = self._written = 0.0
        self._write()

    def begin_anew(self) -> None:
        """The run starts from its beginning: what was answered before does not count."""
        self._update(rounds=0, rounds_before=0, round_seconds=0.0, steps={}, asked_since="", waiting_for=())

    def step(self, name: str) -> None:
        """The run is at a step."""
        self._update(step=name, step_since=_now())

    def asked(self, sites: tuple[str, ...]) -> None:
        """A round has begun: these sites are asked."""
        self._asked = time.monotonic()
        self._update(asked_since=_now(), waiting_for=sites)

    def answered(self, site: str) -> None:
        """A site has answered."""
        waiting = tuple(name for name in self._now.waiting_for if name != site)
        self._update(waiting_for=waiting, soon=time.monotonic() - self._written < WRITE_SECONDS)

    def round_ended(self) -> None:
        """Every site has answered."""
        took = time.monotonic() - self._asked
        seconds = round(self._now.round_seconds + took, 3)
        before = self._now.steps.get(self._now.step, Taken())
        kept = (*before.seconds, round(took, 3))[-KEPT_SECONDS:]
        steps = {**self._now.steps, self._now.step: Taken(rounds=before.rounds + 1, seconds=kept)}
        self._update(rounds=self._now.rounds + 1, round_seconds=seconds, steps=steps, asked_since="", waiting_for=())

    def _update(self, *, soon: bool = False, **changes: object) -> None:
        self._now = self._now.model_copy(update=changes)
        if not soon:
            self._write()

    def _write(self) -> None:
        """Replace the file in one step, but do not wait for the disk: a crash may cost what it says, and no more."""
        self._written = time.monotonic()
        self._now = self._now.model_copy(update={"updated": _now()})
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        temporary.write_text(self._now.model_dump_json(indent=1) + "\n", encoding="utf-8")
        temporary.replace(self._path)


class Watched:
    """A transport whose rounds are told to a progress file."""

    def __init__(self, inner: Transport, progress: ProgressFile) -> None:
        self._inner, self._progress = inner, progress

    def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:
        """See `Transport`."""
        self._progress.asked(tuple(sorted(messages)))
        for site, reply in self._inner.send(messages, seconds):
            self._progress.answered(site)
            yield site, reply
        self._progress.round_ended()


def telling(progress: ProgressFile, tell: Callable[[str], None]) -> Callable[[str], None]:
    """A function that tells a step to a person and to the file."""

    def both(step: str) -> None:
        progress.step(step)
        tell(step)

    return both


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

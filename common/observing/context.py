"""common/observing: what a line of the log is about: site, study, run, round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

SubjectFields = Mapping[str, str | int]

_SUBJECT: ContextVar[SubjectFields] = ContextVar("fedmvi-subject", default=MappingProxyType({}))


@contextmanager
def bound(*, site: str = "", study: str = "", run: str = "", round_number: int = 0) -> Iterator[None]:
    """Say what is worked on: every line that is logged inside carries it. What is left out stays as it was.

    Parameters
    ----------
    site, study, run
        Names and fingerprints, as the study or the coordinator declares them. Never a patient.
    round_number
        From 1.
    """
    given: dict[str, str | int] = {"site": site, "study": study, "run": run}
    given["round"] = round_number
    token = _SUBJECT.set({**_SUBJECT.get(), **{name: value for name, value in given.items() if value}})
    try:
        yield
    finally:
        _SUBJECT.reset(token)


def subject() -> SubjectFields:
    """What is bound here and now."""
    return _SUBJECT.get()

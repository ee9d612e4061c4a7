"""common: every error a person can meet, by number: what happened and what to do.

An error has two faces. The *public* face is its number and a few declared facts (names from the protocol,
counts, limits); only this may leave a hospital. The *local* face adds file, row, column and value, and is
shown on the machine where it happened, nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType

from common.errors import (
    approval,
    enrolment,
    federation,
    hospitals,
    hub,
    images,
    learning,
    models,
    node,
    programs,
    refusals,
    statistics,
    studies,
)
from common.errors.text import ErrorText

Fact = str | int | float
"""What a public fact may be: a declared name, a count or a limit. Never a patient, a file or a value."""


class Severity(IntEnum):
    """How bad a problem found by `fedmvi-site check` is; larger is worse."""

    NOTE = 1
    WARNING = 2
    ERROR = 3


CATALOGUE: Mapping[int, ErrorText] = MappingProxyType(
    {
        **studies.ERRORS,
        **hospitals.ERRORS,
        **images.ERRORS,
        **learning.ERRORS,
        **refusals.ERRORS,
        **federation.ERRORS,
        **statistics.ERRORS,
        **node.ERRORS,
        **enrolment.ERRORS,
        **hub.ERRORS,
        **models.ERRORS,
        **approval.ERRORS,
        **programs.ERRORS,
    }
)
"""Every error by its number."""


class FedmviError(Exception):
    """An error with a number. See `docs/errors.md` for the list.

    Parameters
    ----------
    number
        A key of `CATALOGUE`.
    local
        Detail for the person at this machine (file, row, column, value). It never leaves.
    severity
        Used by checks that collect problems.
    facts
        Public facts that fill the sentence of the catalogue; these may leave.
    """

    def __init__(self, number: int, local: str = "", *, severity: Severity = Severity.ERROR, **facts: Fact) -> None:
        self.number = number
        self.facts: dict[str, Fact] = dict(facts)
        self.local = local
        self.severity = severity
        self.site = ""
        super().__init__(number, local)

    @classmethod
    def reported(cls, number: int, local: str, facts: Mapping[str, Fact], site: str = "") -> FedmviError:
        """An error that another party, such as a site, met and reported by number and public facts."""
        error = cls(number, local)
        error.facts = dict(facts)
        error.site = site
        return error

    @property
    def what(self) -> str:
        """The sentence that says what happened, from public facts only."""
        return CATALOGUE[self.number].what.format_map(_Facts(self.facts))

    @property
    def do(self) -> str:
        """The sentence that says what to do."""
        return CATALOGUE[self.number].do.format_map(_Facts(self.facts))

    @property
    def where(self) -> str:
        """The site that reported it, in brackets behind a space; nothing where the sentence names it, or it is ours."""
        return f" [{self.site}]" if self.site and self.site not in self.what else ""

    @property
    def code(self) -> str:
        """The number as people quote it, such as `FEDMVI-303`."""
        return f"FEDMVI-{self.number}"

    def public(self) -> dict[str, object]:
        """What may leave the machine: the number and the public facts."""
        return {"number": self.number, "facts": dict(self.facts)}

    def __str__(self) -> str:
        detail = f" [{self.local}]" if self.local else ""
        return f"{self.code} {self.what}{self.where}{detail} {self.do}"


class _Facts(dict[str, Fact]):
    """Facts for a sentence; one that was not given stays visible as its name instead of raising."""

    def __missing__(self, key: str) -> str:
        return f"<{key}>"

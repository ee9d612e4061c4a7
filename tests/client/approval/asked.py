"""tests/client/approval: what sites are really asked in a run, and what they were found to answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import simulation.running
from client.answering import answer_message
from client.cohort.site import load_site
from common.errors import FedmviError
from common.federation.codec import Packed
from common.federation.envelope import Ticket, read_answers, read_envelope
from common.federation.ports import InProcess, SitesPort
from common.federation.query import Ask, Query
from common.federation.tasks import Freeze, FreezeCorrections, Open, Sign
from tests.disclosure.consortium import Consortium

OPENING = (Sign.name, Open.name, Freeze.name, FreezeCorrections.name)
"""Tasks of every run, which let nothing of the patients leave but their rounded number in each cohort."""


@dataclass
class Heard:
    """Every question that sites got, with the number of the error that it met, 0 where it was answered."""

    asks: dict[str, list[tuple[Ask, int]]] = field(default_factory=dict)

    def answer(self, folder: Path, message: Packed) -> Packed:
        """Answer as the site does, and remember."""
        reply = answer_message(folder, message)
        ticket, asks = read_envelope(message)
        name = load_site(folder).name
        try:
            answers = read_answers(reply, ticket, asks, name)
        except FedmviError as error:
            answers = []
            pytest.fail(f"{name}: {error}")
        heard = self.asks.setdefault(name, [])
        heard += [(ask, given.error) for ask, given in zip(asks, answers, strict=True) if not _opening(ask)]
        return reply

    def port(self, folders: Mapping[str, Path], ticket: Ticket) -> SitesPort:
        """The sites of a consortium, heard."""
        sites = {name: (lambda message, f=folder: self.answer(f, message)) for name, folder in folders.items()}
        return SitesPort(InProcess(sites), ticket)


def _opening(ask: Ask) -> bool:
    return ask.question.name in OPENING


def key_of(ask: Ask) -> tuple[str, str, str, str]:
    """Kind, cohort, mode and risk, as the preview has them."""
    risk = ask.question.risk.value if isinstance(ask.question, Query) else "MODEL"
    return ask.question.name, ask.cohort, ask.mode.value, risk


@contextmanager
def heard_in_simulations(patch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """Hear the sites of one-machine runs."""
    heard = Heard()
    patch.setattr(simulation.running, "answer_message", heard.answer)
    yield heard


def heard_of(made: Consortium) -> tuple[Heard, SitesPort]:
    """Hear the sites of a small consortium."""
    heard = Heard()
    return heard, heard.port(made.folders, made.ticket)

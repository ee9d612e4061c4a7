"""common/federation: advances conclusions in lock-step; the only code that talks to a port.

A conclusion is a generator: it yields what it needs (`total`, `each`, `perform`, or a tuple of them), is sent
the answers, and returns a fitted result. `conclude` advances all conclusions together: in each round their open
questions travel together, equal questions once, so many conclusions cost the rounds of the slowest one.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from common.errors import FedmviError
from common.federation.query import Ask, Receipt, Summary

Reply = Summary | Mapping[str, Summary | FedmviError] | Mapping[str, Receipt] | FedmviError
"""A total; or per site a summary (or, of a site that answers alone, its error) or a receipt; or an error."""

R = TypeVar("R")
Conclusion = Generator[Ask | tuple[Ask, ...], Any, R]
"""The server's half of a statistic."""


class Port(Protocol):
    """Puts questions to sites. Implementations share one test suite."""

    def ask(self, asks: Sequence[Ask]) -> list[Reply]:
        """One round: the replies in the order of the questions."""


def conclude(port: Port, conclusions: Sequence[Conclusion[Any]]) -> list[Any]:
    """Run conclusions in lock-step and return their results in order."""
    return _drive(port, together(*conclusions))


def _drive(port: Port, conclusion: Conclusion[R]) -> R:
    try:
        request = next(conclusion)
        while True:
            asks = request if isinstance(request, tuple) else (request,)
            unique = list({ask.digest: ask for ask in asks}.values())
            answered = dict(zip((ask.digest for ask in unique), port.ask(unique), strict=True))
            replies = tuple(answered[ask.digest] for ask in asks)
            request = _advance(conclusion, request, replies)
    except StopIteration as stop:
        result: R = stop.value
        return result


def _advance(conclusion: Conclusion[Any], request: Ask | tuple[Ask, ...], replies: tuple[Reply, ...]) -> Any:
    """Send the replies into the generator, or throw the first error into it, where it may be handled."""
    if not isinstance(request, _ErrorsAsValues):
        for reply in replies:
            if isinstance(reply, FedmviError):
                return conclusion.throw(reply)
    return conclusion.send(replies if isinstance(request, tuple) else replies[0])


def attempt(conclusion: Conclusion[R]) -> Conclusion[R | FedmviError]:
    """The conclusion's result, or the numbered error that it met, so that the others go on."""
    try:
        return (yield from conclusion)
    except FedmviError as error:
        return error


class _ErrorsAsValues(tuple[Ask, ...]):
    """Questions whose errors are wanted as values, so that each inner conclusion meets its own."""

    __slots__ = ()


def together(*conclusions: Conclusion[Any]) -> Conclusion[list[Any]]:
    """Several conclusions as one that asks for all they need in each round, for use inside a conclusion."""
    results: list[Any] = [None] * len(conclusions)
    requests: dict[int, Ask | tuple[Ask, ...]] = {}
    for i, conclusion in enumerate(conclusions):
        try:
            requests[i] = next(conclusion)
        except StopIteration as stop:
            results[i] = stop.value
    while requests:
        flat: list[Ask] = []
        places: dict[int, range] = {}
        for i, request in requests.items():
            asks = request if isinstance(request, tuple) else (request,)
            places[i] = range(len(flat), len(flat) + len(asks))
            flat += asks
        replies = yield _ErrorsAsValues(flat)
        still: dict[int, Ask | tuple[Ask, ...]] = {}
        for i, request in requests.items():
            try:
                still[i] = _advance(conclusions[i], request, tuple(replies[j] for j in places[i]))
            except StopIteration as stop:
                results[i] = stop.value
        requests = still
    return results

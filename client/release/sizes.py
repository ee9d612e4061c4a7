"""client/release: how much the answers to one message, and to one study, may be."""

from __future__ import annotations

from client.release.gate import Gate
from client.release.scope import elements
from common.errors import FedmviError
from common.federation.query import Query, Risk

MAX_MESSAGE_ELEMENTS = 1 << 25
"""Most numbers in all answers to one message, but for weights of networks."""

MAX_MESSAGE_WEIGHTS = 1 << 28
"""Most weights of networks in all answers to one message."""


class Sizes:
    """How much the answers to one message, and to one study, may be.

    Parameters
    ----------
    spent, answers
        Bytes of updates that left in all runs of the study before, and how many answers.
    """

    def __init__(self, gate: Gate, masked: bool, spent: int, answers: int) -> None:
        self._most, self._width, self._spent = gate.policy.max_update_bytes, 8 if masked else 4, spent
        self._left = gate.policy.max_questions - answers
        self._questions = gate.policy.max_questions
        self._numbers = {True: 0, False: 0}

    def admit(self, query: Query) -> None:
        """Count an answer in.

        Raises
        ------
        FedmviError
            415 too many numbers at once, 424 too many bytes of updates in a study, 428 too many answers to it.
        """
        if self._left <= 0:
            raise FedmviError(428, limit=self._questions)
        model = query.risk is Risk.MODEL
        limit = MAX_MESSAGE_WEIGHTS if model else MAX_MESSAGE_ELEMENTS
        count = elements(query)
        if self._numbers[model] + count > limit:
            raise FedmviError(415, limit=limit)
        if model:
            if self._spent + count * self._width > self._most:
                raise FedmviError(424, f"{self._spent} bytes left before", limit=self._most)
            self._spent += count * self._width
        self._numbers[model] += count
        self._left -= 1

"""simulation: benchmarks: peers: a Flower grid that counts the bytes of the messages that pass."""

from collections.abc import Iterable
from typing import Any

from flwr.app import Message
from flwr.common.serde import message_to_proto
from flwr.serverapp import Grid


class Counted:
    """Does what the grid does that it is made of; `bytes` of all messages, both ways, as Flower writes them."""

    def __init__(self, grid: Grid) -> None:
        self._grid, self.bytes, self.rounds = grid, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._grid, name)

    def send_and_receive(self, messages: Iterable[Message], **options: Any) -> Iterable[Message]:
        """One exchange."""
        asked = list(messages)
        answered = list(self._grid.send_and_receive(asked, **options))
        self.rounds += bool(asked)  # a strategy that asks nobody is no round
        self.bytes += sum(message_to_proto(message).ByteSize() for message in (*asked, *answered))
        return answered

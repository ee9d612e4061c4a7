"""simulation/chaos: a site whose clock is wrong, or whose answers are spoilt: `python -m simulation.chaos.disturbed`.

The supervisor, the node and the executor are the shipped ones. What is wrong is put into their processes before their
modules are loaded: the hospital's code stays as it was installed, and its fingerprint with it.
"""

from __future__ import annotations

import datetime
import os
import runpy
import sys
import time
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Message


class Reply(StrEnum):
    """What happens to the first answer after the start."""

    HONEST = "honest"
    DUPLICATED = "duplicated"
    CORRUPTED = "corrupted"


MARK = "disturbed.mark"
"""In the site's store: the first answer has been disturbed."""


def set_clock(seconds: float) -> None:
    """Let this process believe that it is later by so many seconds; call it before others import `datetime`."""
    read, read_ns, real = time.time, time.time_ns, datetime.datetime
    shift = datetime.timedelta(seconds=seconds)
    time.time = lambda: read() + seconds
    time.time_ns = lambda: read_ns() + int(seconds * 1e9)

    class Kind(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, real)

    class Shifted(real, metaclass=Kind):  # type: ignore[misc, valid-type]
        """`datetime.datetime` whose now is another one."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            """The shifted time."""
            return real.now(tz) + shift

        @classmethod
        def utcnow(cls) -> Any:
            """The shifted time."""
            return real.utcnow() + shift

    datetime.datetime = Shifted  # type: ignore[misc]


def spoil_first_reply(how: Reply, mark: Path) -> None:
    """Disturb the first answer that leaves this process or its forks, and leave a mark."""
    import flwr.supernode.runtime.run_clientapp  # noqa: F401 - its package hides it behind a function of that name

    module = sys.modules["flwr.supernode.runtime.run_clientapp"]
    push = module.push_message

    def push_message(client: Any, message: Message, context: Any) -> None:
        if not _first(mark):
            push(client, message, context)
            return
        if how is Reply.CORRUPTED:
            _corrupt(message)
        push(client, message, context)
        if how is Reply.DUPLICATED:
            push(client, message, context)

    module.push_message = push_message  # type: ignore[attr-defined]


def _first(mark: Path) -> bool:
    try:
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    return True


def _corrupt(message: Message) -> None:
    """One character of the text of the answers changes, as if a bit of memory had."""
    told = message.content.config_records.get("message")
    if told is None:
        return
    text = str(told["text"])
    middle = len(text) // 2
    other = text[:middle] + chr(ord(text[middle]) ^ 1) + text[middle + 1 :]
    message.content["message"] = ConfigRecord({**told, "text": other})


def main() -> None:
    """`site FOLDER CLOCK REPLY`: the supervisor. `part CLOCK REPLY MARK MODULE ARGUMENT...`: a process below it."""
    role, *words = sys.argv[1:]
    if role == "site":
        folder, clock, reply = words
        _supervise(Path(folder), clock, reply)
        return
    clock, reply, mark, module, *arguments = words
    if float(clock):
        set_clock(float(clock))
    if reply != Reply.HONEST and module == "client.node.executor":
        spoil_first_reply(Reply(reply), Path(mark))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _supervise(folder: Path, clock: str, reply: str) -> None:
    """`fedmvi-site start`, with every process below it started through this module."""
    from client.cohort.site import load_site
    from client.node import start as starting
    from common.flower.supervisor import Child

    mark = load_site(folder).store / MARK
    mark.unlink(missing_ok=True)
    children = starting._children

    def disturbed(*arguments: Any) -> list[Child]:
        return [replace(child, command=_through_here(child.command)) for child in children(*arguments)]

    def _through_here(command: Any) -> list[str]:
        place = list(command).index("-m")
        before, module, after = command[:place], command[place + 1], command[place + 2 :]
        return [*before, "-m", "simulation.chaos.disturbed", "part", clock, reply, str(mark), module, *after]

    starting._children = disturbed  # type: ignore[assignment]
    starting.start(folder)


if __name__ == "__main__":
    main()

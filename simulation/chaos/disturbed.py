"""simulation/chaos: a site whose answers are spoilt: `python -m simulation.chaos.disturbed`.

The supervisor, the node and the executor are the shipped ones. What is wrong is put into their processes before their
modules are loaded: the hospital's code stays as it was installed, and its fingerprint with it.
"""

from __future__ import annotations

import os
import runpy
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, Message


class Reply(StrEnum):
    """What happens to the first answer after the start."""

    DUPLICATED = "duplicated"
    CORRUPTED = "corrupted"


MARK = "disturbed.mark"
"""In the site's store: the first answer has been disturbed."""


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
    """`site FOLDER REPLY`: the supervisor. `part REPLY MARK MODULE ARGUMENT...`: a process below it."""
    role, *words = sys.argv[1:]
    if role == "site":
        folder, reply = words
        _supervise(Path(folder), reply)
        return
    reply, mark, module, *arguments = words
    if module == "client.node.executor":
        spoil_first_reply(Reply(reply), Path(mark))
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _supervise(folder: Path, reply: str) -> None:
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
        return [*before, "-m", "simulation.chaos.disturbed", "part", reply, str(mark), module, *after]

    starting._children = disturbed  # type: ignore[assignment]
    starting.start(folder)


if __name__ == "__main__":
    main()

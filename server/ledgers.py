"""server: the heads of the hospitals' ledgers, as each answer told them: a second copy of the last hash of each.

Who cuts lines off the end of a ledger, or writes it anew, leaves a chain that is whole. But its head is not the one
that was told here before. One file a site, `<site>.json`, holds the last head, signed by the coordinator; a ledger that
no longer has it is noticed with the site's next answer, and stays noted in the file until a person deletes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common.errors import FedmviError
from common.federation.records import ToldLedger
from common.federation.signatures import Head, SignedHead, Signer, head_is_signed
from common.files import write_whole


class LedgerHeads:
    """The last heads of all sites' ledgers.

    Parameters
    ----------
    folder
        Made with mode 0700 if absent; one file a site.
    warn
        Told of a ledger that became shorter or another one (error 513).
    """

    def __init__(self, folder: Path, signer: Signer, warn: Callable[[FedmviError], None]) -> None:
        self._folder, self._signer, self._warn = folder, signer, warn
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def last(self, site: str) -> Head | None:
        """The last head that was told, None if none was.

        Raises
        ------
        FedmviError
            514 the file is damaged, or another key signed it.
        """
        told = self._read(site)
        return None if told is None else Head(told["lines"], told["hash"])

    def take(self, site: str, state: ToldLedger) -> None:
        """Keep what a site tells of its ledger with an answer; on return it is on disk.

        A ledger that is not the one told before is warned of, and noted beside the last sound head, which is kept: it
        is the proof. Errors as `last`.
        """
        told = self._read(site)
        before = None if told is None else Head(told["lines"], told["hash"])
        if before is None or told is None:
            self._write(site, state.head, [])
            return
        shorter = state.head.lines < before.lines
        other = state.head.lines == before.lines and state.head.hash != before.hash
        if not (shorter or other) and state.agrees:
            if state.head != before:
                self._write(site, state.head, told["troubles"])
            return
        trouble = {"lines": state.head.lines, "hash": state.head.hash}
        if all({"lines": known["lines"], "hash": known["hash"]} != trouble for known in told["troubles"][-1:]):
            self._write(site, before, [*told["troubles"][-99:], {**trouble, "time": _now()}])
        local = f"{self._path(site)}: {before.lines} lines ending in {before.hash} were told before"
        self._warn(FedmviError(513, local, site=site, lines=before.lines))

    def _path(self, site: str) -> Path:
        return self._folder / f"{site}.json"

    def _read(self, site: str) -> dict[str, Any] | None:
        path = self._path(site)
        if not path.exists():
            return None
        try:
            told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            signed = SignedHead(Head(told["lines"], told["hash"]), told["signature"])
            sound = isinstance(told["troubles"], list) and head_is_signed(self._signer.public, site, signed)
        except (OSError, ValueError, KeyError, TypeError, FedmviError) as error:
            raise FedmviError(514, f"{path}: {type(error).__name__}", site=site) from error
        if not sound:
            raise FedmviError(514, f"{path}: signed by another key", site=site)
        return told

    def _write(self, site: str, head: Head, troubles: list[Any]) -> None:
        content = {
            "site": site,
            "lines": head.lines,
            "hash": head.hash,
            "time": _now(),
            "signature": self._signer.head(site, head).signature,
            "troubles": troubles,
        }
        write_whole(self._path(site), (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

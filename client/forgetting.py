"""client: forgets a run: what networks' tasks made for it here, and the answers that a repeat would get."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from client.cohort.site import Site, alone, refuse_root_at
from client.learning.work import work_folder
from client.release.replies import ReplyStore
from client.run import run_folder
from common.errors import FedmviError
from common.federation.envelope import is_run_id
from common.files import sync_folder


@dataclass(frozen=True)
class Forgotten:
    """What was deleted: tasks' folders and stored answers."""

    tasks: int
    answers: int


def forget(site: Site, run_id: str) -> Forgotten:
    """Delete a run's work and replies. The ledger, and whose sums left (`differencing`), are kept.

    The run itself cannot go on here: answers that left cannot be repeated (413).

    Raises
    ------
    FedmviError
        507 there is no such run, 728 root in another user's folder.
    """
    refuse_root_at(site)
    if not is_run_id(run_id) or not run_folder(site, run_id).exists():
        raise FedmviError(507, f"no run {run_id!r}")
    work, replies = work_folder(site, run_id), run_folder(site, run_id) / "replies"
    with alone(site):
        found = Forgotten(tasks=sum(1 for path in work.glob("*/facts.json")), answers=ReplyStore(replies).count())
        # Replies first: without them nothing of the run is answered, however little is deleted after.
        for folder in (replies, work):
            if folder.exists():
                shutil.rmtree(folder)
                sync_folder(folder.parent)
    return found

"""server/hub: the steward: makes Flower's SuperLink agree with the hub's folder, again and again.

Which sites are admitted stands in `sites/*.pub`, which runs are wanted in `runs/*/order.json`. The steward registers,
shuts out, hands in and stops what differs. It remembers nothing that matters, so that it may be killed at any moment.
"""

from __future__ import annotations

import hashlib
import logging
import sys
import time
from pathlib import Path

from common.errors import FedmviError
from common.observing.context import bound
from common.observing.logs import LogFormat, configure
from common.study.fingerprint import code_fingerprint
from server.hub.control import FINISHED, PENDING, Control, packed_bundle, public_key
from server.hub.folder import Hub, load_hub
from server.hub.orders import Attempt, HubRun, Order, queue_of, runs_of

LOOK_SECONDS = 0.5
IDLE_SECONDS = 10.0
"""A run of Flower on which no process works for this long has lost its process."""

MOST_INTERRUPTIONS = 10
LONGEST_PAUSE_SECONDS = 60.0
MENDED_BY_TRYING = frozenset({755})
"""Errors of a run that the hub takes up again by itself."""

_LOG = logging.getLogger("fedmvi.hub")


class Steward:
    """See the module.

    Parameters
    ----------
    folder
        The hub's.
    hub_start
        Which start of the hub this is: runs of an earlier one are dead.
    """

    def __init__(self, folder: Path, hub_start: str) -> None:
        self._folder, self._hub_start = folder, hub_start
        self._idle_since: dict[str, float] = {}
        self._told: set[str] = set()
        self._control: Control | None = None

    def look(self) -> None:
        """One look at everything; error 745 while the SuperLink does not answer."""
        hub = load_hub(self._folder)
        if self._control is None:
            self._control = Control(hub)
        self._admit(hub, self._control)
        self._attend(hub, self._control)
        (hub.state / "steward").touch()

    def _admit(self, hub: Hub, control: Control) -> None:
        """Register the sites that have a key in the folder, and shut out all others."""
        wanted: dict[str, bytes] = {}
        # A key that cannot be read now is no key that was withdrawn, and Flower never takes a key back (759).
        doubtful: set[str] = set()
        for site, path in hub.site_keys.items():
            try:
                wanted[site] = public_key(site, path)
            except FedmviError as error:
                doubtful.add(site)
                self._tell_once(error)
        present = control.nodes()
        for node in present:
            if node.site not in doubtful and wanted.get(node.site) != node.key:
                control.unregister(node)
                _LOG.warning("site %s is shut out: its key is not in the hub's folder", node.site)
        registered = {node.site for node in present if wanted.get(node.site) == node.key}
        for site, key in wanted.items():
            if site in registered:
                continue
            try:
                control.register(site, key)
                _LOG.info("site %s is registered", site)
            except FedmviError as error:
                if error.number != 759:
                    raise
                self._tell_once(error)

    def _tell_once(self, error: FedmviError) -> None:
        if str(error) not in self._told:
            self._told.add(str(error))
            _LOG.error("%s", error)

    def _attend(self, hub: Hub, control: Control) -> None:
        """End what has ended or is wanted no more, then hand in the next run if none is going on."""
        going = [run for run in runs_of(hub) if self._goes_on(run, control)]
        queue = queue_of(hub)
        if going or not queue:
            return
        order, attempt = queue[0].order, queue[0].attempt
        if order is not None and (attempt is None or _is_due(attempt)):
            self._hand_in(queue[0], order, control)

    def _goes_on(self, run: HubRun, control: Control) -> bool:
        """Whether Flower works on an attempt at the run; what it has ended is settled."""
        attempt = run.last_attempt
        if attempt is None or attempt.state != "running":
            return False
        number = attempt.flower_run or control.find("attempt", attempt.ticket)
        status = control.status(number) if number else FINISHED
        busy = run.run.busy()
        if status != FINISHED:
            if self._is_over(run, attempt, pending=status == PENDING, busy=busy):
                control.stop(number)
            return True
        if busy and attempt.hub_start == self._hub_start:
            return True  # it has been told, or will be at its next question
        self._idle_since.pop(run.name, None)
        self._settle(run, attempt)
        return False

    def _is_over(self, run: HubRun, attempt: Attempt, *, pending: bool, busy: bool) -> bool:
        """Whether a run that Flower still counts as going on is to be ended."""
        order = run.order
        if attempt.hub_start != self._hub_start or run.attempt is None or (order is not None and order.stopped):
            return True
        if busy or pending:
            self._idle_since.pop(run.name, None)
            return False
        since = self._idle_since.setdefault(run.name, time.monotonic())
        return time.monotonic() - since > IDLE_SECONDS

    def _settle(self, run: HubRun, attempt: Attempt) -> None:
        """An attempt has ended: with what was wanted, with an error, or it was interrupted and is to be tried again."""
        order, failure = run.order, run.run.failure()
        with bound(run=run.name):
            if run.done() or run.attempt is None or (order is not None and order.stopped):
                if not run.done():
                    # It lost its connection because it was stopped; that is no error to show.
                    run.run.failure_file.unlink(missing_ok=True)
                run.write_attempt(attempt.model_copy(update={"state": "over"}))
                _LOG.info("run %s is %s", run.name, run.state.value)
            elif failure is not None and failure.number not in MENDED_BY_TRYING:
                run.write_attempt(attempt.model_copy(update={"state": "over"}))
                _LOG.error("run %s has failed: %s", run.name, failure)
            else:
                self._interrupted(run, attempt)

    def _interrupted(self, run: HubRun, attempt: Attempt) -> None:
        count = attempt.interruptions
        if attempt.hub_start == self._hub_start:  # when the hub itself was stopped, the run is not to blame
            count = 0 if run.reached() != attempt.reached else count + 1
        if count > MOST_INTERRUPTIONS:
            run.run.write_failure(FedmviError(754, str(run.run.log_file), count=count))
            run.write_attempt(attempt.model_copy(update={"state": "over"}))
            _LOG.error("run %s has failed: it was interrupted %d times in a row", run.name, count)
            return
        pause = min(2.0**count, LONGEST_PAUSE_SECONDS) if count else 0.0
        changes = {"state": "again", "interruptions": count, "not_before": time.time() + pause}
        run.write_attempt(attempt.model_copy(update=changes))
        _LOG.warning("run %s was interrupted and is taken up again", run.name)

    def _hand_in(self, run: HubRun, order: Order, control: Control) -> None:
        """Give a run to Flower; the ticket is on disk before, so that it is found again whatever happens between."""
        run.run.failure_file.unlink(missing_ok=True)
        bundle = packed_bundle()
        attempt = run.new_attempt(order, self._hub_start, hashlib.sha256(bundle).hexdigest(), code_fingerprint())
        run.write_attempt(attempt)
        settings = {
            "run-dir": str(run.run.folder),
            "action": order.action.value,
            "site-names": "registered",
            "attempt": attempt.ticket,
        }
        try:
            number = control.start(bundle, settings)
        except FedmviError as error:
            if error.number != 745:
                run.run.write_failure(error)
            raise
        run.write_attempt(attempt.model_copy(update={"flower_run": number}))
        _LOG.info("run %s is handed in (%s, code %s)", run.name, order.action.value, attempt.code[:12])


def _is_due(attempt: Attempt) -> bool:
    """Whether its pause is over. One longer than there are was written down with a clock that was ahead."""
    left = attempt.not_before - time.time()
    return left <= 0 or left > LONGEST_PAUSE_SECONDS


def main(folder: str, hub_start: str, style: str) -> None:
    """Look until the process is ended."""
    home = Path(folder)
    configure(LogFormat(style), home / "state" / "log" / "local.log", part="steward")
    steward, down = Steward(home, hub_start), False
    while True:
        try:
            steward.look()
            down = False
        except FedmviError as error:
            if error.number != 745:
                _LOG.error("%s", error)
            elif not down:
                _LOG.warning("the SuperLink does not answer")
            down = down or error.number == 745
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:4])

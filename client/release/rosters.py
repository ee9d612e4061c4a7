"""client/release: whose own sums the rosters of runs tell: who left sites out must have their signature for it.

A sum over some sites less one over fewer of them is the sum of those who are missing. Runs of one study differ only by
who was left out, and no site sees all of their rosters: three that differ by many sites each can tell one apart
(abc + ade - bcde is twice a). So every site by which two runs of a study differ must have consented, however many they
are, and whatever the runs ask. What was signed in the run that had the site counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from client.cohort.site import Policy, Site
from client.release.told import FOLDER, read_told
from common.errors import FedmviError
from common.federation.envelope import Ticket
from common.files import make_private, write_whole
from common.study.fingerprint import canonical_json, digest


def signed(ticket: Ticket, roster: Collection[str], alone: Collection[str] | None) -> dict[str, Any]:
    """What is kept of a run: its sites, and who of the others has signed that it may be left out; `alone` None where
    nothing is masked, and so nothing signed."""
    return {"run": ticket.run_id, "roster": sorted(roster), "alone": sorted(alone or ()), "masked": alone is not None}


def told_apart(earlier: Mapping[str, Any], now: Mapping[str, Any], policy: Policy) -> list[str]:
    """The sites that are in one of two runs only and have not consented there.

    Without masks the coordinator's program has each site's part anyhow, and this hospital's own policy decides.
    """
    found: list[str] = []
    for one, other in ((earlier, now), (now, earlier)):
        consent = set(one.get("alone", ())) if one.get("masked", True) else None
        apart = set(one["roster"]) - set(other["roster"])
        found += [site for site in apart if not (policy.release_alone if consent is None else site in consent)]
    return sorted(found)


def covers(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether what is kept of a run says all of a later one: nobody who consented then has signed otherwise since."""
    alike = all(earlier.get(part) == now.get(part) for part in ("roster", "masked", "patients"))
    return alike and set(earlier.get("alone", ())) <= set(now["alone"])


class Rosters:
    """The rosters of a study's runs of which totals left this site; `limit`: `min_sites` in force."""

    def __init__(self, site: Site, ticket: Ticket, alone: Collection[str] | None, limit: int) -> None:
        self._policy, self._ticket, self._alone = site.policy, ticket, alone
        self._path = site.store / FOLDER / f"{digest(canonical_json(['rosters', ticket.study]))}.json"
        self._limit = limit

    def admit(self, cohort: str, without: str = "") -> None:
        """Let totals of the run leave, or those without one of its sites; on return it is on disk that they may.

        Raises
        ------
        FedmviError
            421 sites that have not consented would be told apart from an earlier run of the study; `local` names them.
            422 the record is damaged.
        """
        now = signed(self._ticket, [site for site in self._ticket.roster("") if site != without], self._alone)
        told = read_told(self._path, {"run", "roster", "alone", "masked"})
        for earlier in told:
            # Also where this run was told something before: another one may have been since.
            if named := told_apart(earlier, now, self._policy):
                local = f"without consent in one only of this run and run {earlier['run']}: {', '.join(named)}"
                raise FedmviError(421, local, cohort=cohort, limit=self._limit)
        if any(covers(earlier, now) for earlier in told):
            return
        make_private(self._path.parent)
        write_whole(self._path, canonical_json([*told, now]).encode())

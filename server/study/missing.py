"""server/study: sites stay away: whether the run begins anew over the others, and that it does."""

from __future__ import annotations

from common.errors import FedmviError
from common.study.taking_part import taking_part
from server.study.run_directory import RunDirectory

OTHERS_COMPARE = 421
"""The number by which a hospital refuses a roster that differs by few sites from one that it has answered."""


class AwayError(FedmviError):
    """Sites were waited for as long as the protocol says, in vain: 508 not connected, 503 silent.

    Parameters
    ----------
    sites
        Those that were waited for so long.
    others
        Whether yet others are away, for a shorter time.
    """

    def __init__(self, number: int, local: str, sites: tuple[str, ...], *, others: bool = False) -> None:
        super().__init__(number, local, site=sites[0])
        self.sites, self.others = sites, others


def leave_out(run: RunDirectory, error: FedmviError) -> bool:
    """Whether the run goes on without the sites of the error: from its beginning, under another id.

    Sums that had a site in them, less those that have not, are its own. So where any may have been told, the site must
    have signed that its own sums may be. The other hospitals hold to that themselves (421): then it is taken back.

    While others are away as well it may be the hub that is cut off, and the run stops.

    Raises
    ------
    FedmviError
        517 the protocol leaves sites out, but not these, or they or the others do not allow it.
    """
    protocol = run.study()
    if protocol.federation.missing_site != "leave-out":
        return False
    if error.number == OTHERS_COMPARE and run.take_back():
        raise _refused(error, run, "the other hospitals have told sums with it, and it has not allowed that")
    if not isinstance(error, AwayError) or error.others:
        return False
    try:
        taking_part(protocol, {*run.left_out, *error.sites})
    except FedmviError as refused:
        raise _refused(error, run, refused.local) from error
    allowed = run.facts().get("may_be_left_out", {})
    if not all(allowed.get(site, True) is True for site in error.sites):
        raise _refused(error, run, "its policy has may_be_left_out = false")
    run.leave_out(error.sites, error.code)
    return True


def _refused(error: FedmviError, run: RunDirectory, why: str) -> FedmviError:
    sites = error.sites if isinstance(error, AwayError) else run.facts().get("taken_back", ())
    named = ", ".join(sites)
    told = f"{error.code} {error.what} {why}"
    return FedmviError.reported(517, told, {"sites": named}, sites[0] if sites else "")

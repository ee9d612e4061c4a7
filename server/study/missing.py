"""server/study: a site stays away: whether the run begins anew over the others, and that it does."""

from __future__ import annotations

from common.errors import FedmviError
from common.study.taking_part import taking_part
from server.study.run_directory import RunDirectory

STAYED_AWAY = frozenset({503, 508})
"""Errors by which a run knows that a site did not answer in time, or was not connected."""


def leave_out(run: RunDirectory, error: FedmviError) -> bool:
    """Whether the run goes on without the site of the error: from its beginning, under another id.

    Sums that had the site in them, less those that have not, are its own. So where any may have been told, the site
    must have signed that its own sums may be. The other hospitals hold to that themselves (421).

    Raises
    ------
    FedmviError
        517 the protocol leaves sites out, but not this one, or the site does not allow it.
    """
    protocol, site = run.study(), error.site or str(error.facts.get("site", ""))
    if error.number not in STAYED_AWAY or protocol.federation.missing_site != "leave-out":
        return False
    try:
        taking_part(protocol, {*run.left_out, site})
        if run.facts().get("may_be_left_out", {}).get(site, True) is not True:
            raise FedmviError(517, "its policy has release_alone = false", sites=site)
    except FedmviError as refused:
        raise FedmviError.reported(517, f"{error.code} {error.what} {refused.local}", refused.facts, site) from error
    run.leave_out(site, error.code)
    return True

"""client/cohort: which patients of the site belong to a cohort of the study, drawn without memory.

The draw depends on the site's secret, the study's name, the cohort's name and the patient's id: not on the order of
rows, the run or the machine. Nobody without the secret can tell where a patient went.
"""

from __future__ import annotations

import hashlib
import hmac
import re

import numpy as np
from numpy.typing import NDArray

from client.cohort.site import Site
from common.errors import FedmviError
from common.study.protocol import Cohort, Study
from common.study.table import SiteTable

Flags = NDArray[np.bool_]


def members(site: Site, table: SiteTable, study: Study, cohort: Cohort) -> Flags:
    """(n,) True for the patients of the site who are in the cohort.

    They fail no eligibility rule, the cohort names the site, and their label matches. A cohort with a split takes
    `round(fraction * n)` of the n such patients in each class of its `stratify` endpoint (a missing endpoint is a
    class of its own), as far as earlier splits left them; splits are drawn in the order of the protocol. Other
    prediction cohorts are what all splits leave; outcome and genomics cohorts ignore splits.

    Raises
    ------
    FedmviError
        322 a split without a usable site.secret.
    """
    taken = np.zeros(table.n, bool)
    if cohort.role in ("outcome", "genomics"):
        return candidates(site, table, cohort)
    for other in study.cohorts:
        if other.split is None or site.name not in other.sites:
            continue
        drawn = _draw(site, table, study, other, taken)
        if other.name == cohort.name:
            return drawn
        taken |= drawn
    return candidates(site, table, cohort) & ~taken


def candidates(site: Site, table: SiteTable, cohort: Cohort) -> Flags:
    """(n,) True for the patients whom the cohort would have if there were no splits."""
    if site.name not in cohort.sites:
        return np.zeros(table.n, bool)
    return eligible(table) & _labelled(table, cohort)


def eligible(table: SiteTable) -> Flags:
    """(n,) True for the patients who fail no eligibility rule."""
    failed: Flags = np.logical_or.reduce([np.zeros(table.n, bool), *table.failed.values()])
    return ~failed


def flow(site: Site, table: SiteTable, study: Study, cohort: Cohort) -> list[tuple[str, int]]:
    """How the table's patients become the cohort's: (step, count), where the steps between first and last leave.

    A patient who fails several rules counts at the first. The last count is the first less all others.
    """
    left = np.ones(table.n, bool)
    steps = [("patients in the table", table.n)]
    for rule, fails in table.failed.items():
        steps.append((f"excluded by {rule}", int(np.count_nonzero(left & fails))))
        left &= ~fails
    other_label = left & ~_labelled(table, cohort)
    left &= ~other_label
    inside = members(site, table, study, cohort)
    steps.append(("other label", int(np.count_nonzero(other_label))))
    steps.append(("other role", int(np.count_nonzero(left & ~inside))))
    steps.append(("in the cohort", int(np.count_nonzero(inside))))
    return steps


def site_secret(site: Site) -> bytes:
    """The 32 bytes of `site.secret`.

    Raises
    ------
    FedmviError
        322 missing, unreadable, or not 64 hexadecimal digits.
    """
    try:
        text = site.secret_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise FedmviError(322, f"{site.secret_file.name}: {type(error).__name__}") from error
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise FedmviError(322, f"{site.secret_file.name}: not 64 hexadecimal digits")
    return bytes.fromhex(text)


def patient_keys(site: Site, table: SiteTable) -> NDArray[np.uint64]:
    """(n,) a number for each patient from the site's secret and the patient's id, see `Frame`; error 322."""
    secret = site_secret(site)
    digests = (hmac.digest(secret, f"key|{patient}".encode(), hashlib.sha256) for patient in table.patients)
    return np.frombuffer(b"".join(digest[:8] for digest in digests), dtype="<u8").astype(np.uint64)


def _labelled(table: SiteTable, cohort: Cohort) -> Flags:
    return np.array([cohort.label is None or label == cohort.label for label in table.labels], dtype=bool)


def _draw(site: Site, table: SiteTable, study: Study, cohort: Cohort, taken: Flags) -> Flags:
    if cohort.split is None:
        raise ValueError("only a cohort with a split is drawn")
    secret = site_secret(site)
    pool = candidates(site, table, cohort)
    drawn = np.zeros(table.n, bool)
    stratify = cohort.split.stratify
    classes = np.zeros(table.n) if stratify is None else np.nan_to_num(table.endpoints[stratify], nan=-1.0)
    ranks = {
        int(i): hmac.digest(secret, f"{study.study.name}|{cohort.name}|{table.patients[i]}".encode(), hashlib.sha256)
        for i in np.flatnonzero(pool & ~taken)
    }
    for value in np.unique(classes):
        stratum = pool & (classes == value)
        share = round(cohort.split.fraction * int(np.count_nonzero(stratum)))
        free = sorted((int(i) for i in np.flatnonzero(stratum & ~taken)), key=ranks.__getitem__)
        drawn[free[:share]] = True
    return drawn

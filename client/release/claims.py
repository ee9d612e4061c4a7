"""client/release: what a hospital says of itself, signed, when a run opens, and what follows from what all say.

A hospital hides in its profile a column in which few of its patients differ from the others. A sum over all hospitals
less what the others tell of theirs is its own, and so about these few. Hence each signs which columns it hides; what
only a few of a cohort hide, or keep silent about, nobody tells there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from client.cohort.membership import members
from client.cohort.site import Site
from client.cohort.store import load_prepared, store_digest
from client.release.gate import Gate
from client.release.keys import Consent, mask_key
from common.errors import FedmviError
from common.federation.identity import Claim
from common.federation.query import MOST_PATIENTS, Query, Summary
from common.statistics.residuals import ResidualsAlone
from common.statistics.site_profile import SiteProfile, may_be_told
from common.study.fingerprint import canonical_json
from common.study.protocol import Model, Study
from common.study.recipe import Complete, Frame, ModelColumns, Recipe, Select
from common.study.scores import needed_columns, plain_columns
from common.study.shifted import compared_by, compared_cohorts, number_columns
from common.study.table import SiteTable


def claim_of(site: Site, fingerprint: str, study: Study) -> Claim:
    """What the site says of itself now; errors of `load_prepared`, 322 no site.secret."""
    key = mask_key(site, fingerprint, store_digest(site, study))
    policy = site.policy
    return Claim(key, _patients(site, study), policy.may_be_left_out, policy.tells, hidden_columns(site, study))


def _patients(site: Site, study: Study) -> str:
    """This site's patients in each of its cohorts, as JSON; rounded down to whole `min_cell`s, as nobody needs more.

    The stricter of the study's and the site's own.
    """
    table, cell = load_prepared(site, study), Gate.of(site.policy, study).limits.min_cell
    counted = {
        cohort.name: int(np.count_nonzero(members(site, table, study, cohort))) // cell * cell
        for cohort in study.cohorts
        if site.name in cohort.sites
    }
    return canonical_json(counted)


_SIZES = TypeAdapter(dict[str, Annotated[int, Field(strict=True, ge=0, le=MOST_PATIENTS)]])
_NAMES = TypeAdapter(dict[str, list[str]])


def cohort_sizes(name: str, patients: str) -> dict[str, int]:
    """What another site signed for; error 419 for anything but numbers of patients."""
    try:
        return _SIZES.validate_json(patients)
    except ValidationError as error:
        raise FedmviError(419, "its numbers of patients", site=name) from error


def columns_hidden(name: str, hides: str) -> dict[str, list[str]]:
    """By cohort the columns that a site signed that it hides; error 419 for anything but names of columns."""
    try:
        return _NAMES.validate_json(hides)
    except ValidationError as error:
        raise FedmviError(419, "the columns that it hides", site=name) from error


def hidden_columns(site: Site, study: Study) -> str:
    """The columns by which `[shift]` compares hospitals and that this one would hide, by cohort, as JSON.

    None of a site that tells nothing of itself. A column is looked at as its known values are, in the fewest patients
    of whom a sum may be: filled values can only give more patients to the others, so that none is hidden later which
    was not here (`may_be_told`).
    """
    model = compared_by(study)
    if model is None or not site.policy.tells:
        return "{}"
    table, least = load_prepared(site, study), Gate.of(site.policy, study).limits.min_cell
    names = {model.cohort, *compared_cohorts(study)}
    hidden = {
        cohort.name: _hidden(_known(site, table, study, model, cohort.name), study, model, least)
        for cohort in study.cohorts
        if cohort.name in names and site.name in cohort.sites
    }
    return canonical_json({cohort: own for cohort, own in hidden.items() if own})


def _known(site: Site, table: SiteTable, study: Study, model: Model, cohort: str) -> Frame:
    """The columns as the table has them, of the patients whom the model leaves; without the closed endpoints."""
    whole, keys = study.cohort(cohort), study.endpoint(model.endpoint).keys
    visible = () if whole.role in study.closed_roles else tuple(key for key in keys if key in table.endpoints)
    if model.reduction is not None:
        read = ModelColumns(model.name)
        recipe = Recipe((read, Complete((read.complete,), keys)))
    else:
        columns = plain_columns(study, model)
        needed = tuple(column.name for column in columns) if model.missing == "complete-case" else ()
        recipe = Recipe((Select(columns), Complete(needed, keys)))
    declared = replace(table, declared={model.name: needed_columns(study, model)})
    return recipe.apply(declared, members(site, table, study, whole), visible)


def _hidden(frame: Frame, study: Study, model: Model, least: int) -> list[str]:
    numbers = set(number_columns(study, model, tuple(frame.columns)))
    return [
        name
        for name, values in frame.columns.items()
        if name != ModelColumns(model.name).complete
        and not may_be_told(values[~np.isnan(values)], least, number=name in numbers)
    ]


def left_untold(consents: Mapping[str, Consent], cohort: str, roster: Collection[str], min_sites: int) -> set[str]:
    """The columns that no site of a roster tells, as what all others tell would leave the sums of the few who hide one.

    Whose own sums may be told, because they may be left out, hides nobody else's.

    Parameters
    ----------
    consents
        By site what it has signed.
    """
    hiding: dict[str, set[str]] = defaultdict(set)
    for site in roster:
        for column in columns_hidden(site, consents[site].hides).get(cohort, ()):
            hiding[column].add(site)
    silent = {site for site in roster if not consents[site].tells}
    among = {column: [site for site in sites | silent if not consents[site].alone] for column, sites in hiding.items()}
    return {column for column, sites in among.items() if len(sites) < min_sites}


def as_signed(
    query: Query, summary: Summary, consents: Mapping[str, Consent], roster: Collection[str], min_sites: int
) -> Summary:
    """An answer as this site may give it: a profile, or in training tests of what a score leaves over, without the
    columns that few sites of the cohort hide.

    Without masks nobody has signed anything: the coordinator's program has each site's part of every sum.
    """
    if not consents or not isinstance(query, SiteProfile | ResidualsAlone):
        return summary
    if isinstance(query, ResidualsAlone) and not query.part:
        return summary  # nothing of it is known of all hospitals together
    return query.without(summary, left_untold(consents, query.cohort, roster, min_sites))

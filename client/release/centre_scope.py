"""client/release: the scope of leaving centres out: which sums may lack a hospital, and who must have allowed it.

A sum over all hospitals less the same sum without one is that one's own part. So a hospital is left out of nothing
unless it has signed that its part may be told; and as several may be left out one after the other, those who have not
signed must be so many that even the sum over all of them is one that could be asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from client.cohort.site import Policy
from client.release.harmonise_scope import HARMONISES
from client.release.keys import Consent
from client.release.model_scope import REDUCES
from common.errors import FedmviError
from common.federation import totals
from common.federation.query import Query, Summary, Task
from common.statistics.by_centre import CentreAlone
from common.statistics.confusion import ThresholdCounts
from common.statistics.icc import SiteAgreement
from common.study.centres import Centre, Only, Without, centre_models, centre_of, cut_at, left_out, shift_models
from common.study.chain import ChainedImpute
from common.study.protocol import Study
from common.study.recipe import (
    Cut,
    DraftScore,
    Frame,
    Impute,
    Made,
    Outside,
    Recipe,
    Resample,
    Score,
)
from common.study.scores import needed_columns

DEVELOPS = (
    frozenset({"query.deviations", "query.logistic", "query.grid_counts", "query.observed_gram"}) | REDUCES | HARMONISES
)
"""What is summed without a centre: the questions that develop a model. No other statistic is."""


def check_centre(query: Query, study: Study) -> None:
    """Error 414 unless the question names no centre, or one as the study's leave-one-centre-out does."""
    centre = centre_of(query.recipe)
    _need(not any(isinstance(step, Centre) for step in query.recipe.steps[1:]), "a centre")
    if centre is None:
        return
    models = [model for model in study.models if model.name in centre_models(study, query.cohort)]
    _need(bool(models) and centre.site in study.cohort(query.cohort).sites, "a centre")
    last = query.recipe.steps[-1]
    if isinstance(centre, Only):
        drafted = isinstance(last, DraftScore) and last.model in {model.name for model in models}
        _need(drafted and query.name == "query.roc_alone", "a centre")
        return
    parts = any(isinstance(step, Outside | Resample | DraftScore | Score | Cut) for step in query.recipe.steps)
    _need(query.pooled and query.name in DEVELOPS and not parts, "a centre")
    named = {*getattr(query, "columns", ()), *(query.readers[0] if isinstance(query, SiteAgreement) else query.uses)}
    named -= {"fold"}
    asked = getattr(query, "endpoint", "")
    _need(
        any(
            named <= {column.name for column in needed_columns(study, model)} and asked in ("", model.endpoint)
            for model in models
        ),
        "a centre",
    )


def centres_declare(query: Query, study: Study) -> bool:
    """Whether [shift] looks at a frozen score by centre, or at what its fall is made of, by this question."""
    steps = query.recipe.steps
    scored = steps[:-1] if steps and isinstance(steps[-1], Cut) else steps
    if query.name not in LOOKS or not scored or not isinstance(scored[-1], Score):
        return False
    model = next((m for m in study.models if m.name == scored[-1].model and m.name in shift_models(study)), None)
    column = scored[-1].column
    named = getattr(query, "column", "") == column or getattr(query, "columns", ()) == (column,)
    if model is None or not named or getattr(query, "endpoint", model.endpoint) != model.endpoint:
        return False
    cut = steps[-1] if isinstance(steps[-1], Cut) else None
    if cut is not None and (cut.cutoff is None or cut != cut_at(model.name, column, cut.cutoff)):
        return False
    if isinstance(query, ThresholdCounts):
        own = cut is not None and query.thresholds.tolist() == [[cut.cutoff]]
        return own and query.cohort in (model.cohort, *model.evaluate)
    return query.cohort in model.evaluate


LOOKS = frozenset({"query.centre_alone", "query.risk_counts", "query.case_mix_alone", "query.threshold_counts"})
"""What is asked of the frozen scores of [shift]."""


def summed_over(query: Query, roster: Sequence[str]) -> tuple[str, ...]:
    """The sites whose patients are in a sum; error 414 for a centre that is not asked."""
    without = left_out(query.recipe)
    _need(without in ("", *roster), "a centre")
    return tuple(site for site in roster if site != without)


def consenting(own: str, policy: Policy, signed: Collection[str] | None, roster: Sequence[str]) -> set[str]:
    """The sites whose own sums may be told, as they signed for this run and as this site's policy says.

    Parameters
    ----------
    own
        This site's name.
    signed
        The others that have signed; None where nothing is masked, and so nothing signed: the coordinator's program has
        each site's part anyhow, and this hospital's own policy decides (`release_alone`).
    """
    others = (roster if policy.release_alone else ()) if signed is None else signed
    return {*others} - {own} | ({own} if policy.may_be_left_out else set())


def refuse_left_apart(
    query: Query, own: str, consents: Mapping[str, Consent], roster: Sequence[str], min_sites: int
) -> None:
    """Refuse sums and means of this site where, with the others', they leave of a total that of few who tell none.

    A network's table by hospital is one of these: the table over all hospitals is asked in every study.

    Parameters
    ----------
    own
        This site's name.
    consents
        By site, this one among them, what it has signed. Whose own sums may be told hides nobody else's.

    Raises
    ------
    FedmviError
        408 this site has signed that it tells none; 438 few others have.
    """
    of_network = isinstance(query, CentreAlone) and any(isinstance(step, Made) for step in query.recipe.steps)
    if not (query.adds_up or of_network) or len(roster) < min_sites:
        return
    if not consents[own].tells:
        raise FedmviError(408)
    silent_ = [site for site in roster if not consents[site].tells]
    if silent_ and sum(not consents[site].alone for site in silent_) < min_sites:
        raise FedmviError(438, ", ".join(silent_), count=len(silent_), cohort=query.cohort, limit=min_sites)


def refuse_unsigned(query: Query, roster: Sequence[str], consent: Collection[str], min_sites: int) -> None:
    """Refuse a sum without a site that has not consented, or that leaves few who have not.

    Raises
    ------
    FedmviError
        432 the site has not consented; 433 those who have not are fewer than a sum may be over.
    """
    without = left_out(query.recipe)
    if not without:
        return
    if without not in consent:
        raise FedmviError(432, site=without, cohort=query.cohort)
    others = [site for site in roster if site not in consent]
    if 0 < len(others) < min_sites:
        raise FedmviError(433, ", ".join(others), count=len(others), cohort=query.cohort, limit=min_sites)


def refuse_own_part(query: Query, frame: Frame, share: float, min_cell: int) -> None:
    """Refuse a sum without a centre that tells too much of a site which may be left out, this one or another.

    The sum with it less that without it is its part, and so is everybody's less the parts of all others. No mask hides
    it, so what a masked sum holds against the patients of all sites is held against its own.

    Parameters
    ----------
    frame
        The patients here whom the recipe leaves.
    share
        The largest number of parameters, as a share of them; of folds that are told apart a share of one of them.

    Raises
    ------
    FedmviError
        404 too many parameters for its own patients, whose rows they would be; 403 folds of a few of them; 409 a column
        in which few of them differ from the others.
    """
    if query.parameters > share * frame.n:
        raise FedmviError(404, parameters=query.parameters, fraction=share)
    if query.folds and frame.n // query.folds < min_cell:
        raise FedmviError(403, cohort=query.cohort, limit=query.folds * min_cell)
    # What agreement of readers is about is held to its own limits, whoever is left out.
    for name in () if isinstance(query, SiteAgreement) else query.uses:
        if name in frame.columns and name != "fold" and one_value(frame, name, min_cell):
            raise FedmviError(409, f"column {name}: one value but for few", limit=min_cell, cohort=query.cohort)


def zeros(question: Query | Task) -> Summary:
    """What a site that has nothing to say answers: zeros of the declared shapes, without a look at any patient."""
    if not isinstance(question, Query):
        raise FedmviError(501)
    return totals.zeros(question)


def centre_words(question: Query | Task) -> str:
    """Whose patients are not in a sum, or whom alone an answer is about, for the ledger; "" where it is everybody."""
    centre = centre_of(question.recipe) if isinstance(question, Query) else None
    if centre is None:
        return ""
    return f", of {centre.site} alone" if isinstance(centre, Only) else f", without {centre.site}, which adds zeros"


def filling(recipe: Recipe) -> Impute | ChainedImpute | None:
    """The step that fills missing values, if the recipe has one."""
    return next((step for step in recipe.steps if isinstance(step, Impute | ChainedImpute)), None)


def refuse_few_filled(query: Query, before: Frame, min_cell: int) -> None:
    """Refuse a sum without a centre whose few filled patients could be told from those of the sum with it.

    What fills a missing value is another number without each centre. Were it so for a few patients only, sums that
    differ in nothing else would differ by their rows; so a column has none of them here, or a cell.

    Parameters
    ----------
    before
        The patients before their values are filled.

    Raises
    ------
    FedmviError
        434 few patients lack a value.
    """
    step = filling(query.recipe)
    if not isinstance(centre_of(query.recipe), Without) or step is None:
        return
    for name in step.names:
        lacking = int(np.count_nonzero(np.isnan(before.columns[name])))
        if 0 < lacking < min_cell:
            raise FedmviError(434, f"column {name}", cohort=query.cohort, limit=min_cell)


def one_value(frame: Frame, column: str, min_cell: int) -> bool:
    """Whether a score is the same for all patients here but a few: its area would be these few patients' classes."""
    known = frame.columns[column][~np.isnan(frame.columns[column])]
    largest = int(np.unique(known, return_counts=True)[1].max(initial=0))
    return known.size - largest < min_cell


def _need(sound: bool, part: str) -> None:
    if not sound:
        raise FedmviError(414, part=part)

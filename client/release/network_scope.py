"""client/release: the scope of a study's networks: which questions their scores may be asked, and of whom."""

from __future__ import annotations

from collections.abc import Iterator

from common.errors import FedmviError
from common.federation.query import Query
from common.networks.adapting import ADAPTED, UNADAPTED
from common.networks.projection import LARGEST, projected_columns
from common.statistics.areas_alone import AreasAlone
from common.statistics.by_centre import CentreAlone
from common.statistics.case_mix import CaseMixAlone, RiskCounts
from common.statistics.grades import GradeCounts, GradeTable
from common.statistics.projection import HalfProducts, LevelSums
from common.statistics.two_sample import DirectionCounts
from common.study.analyses import FOLDS
from common.study.centres import cut_at, network_cohorts
from common.study.networks import Network
from common.study.protocol import Study
from common.study.ranges import Range
from common.study.recipe import Complete, Cut, Fold, Made
from common.study.scores import scored_cohorts, source_column

QUESTIONS = frozenset(
    {
        "query.grade_table",
        "query.threshold_counts",
        "query.recalibration",
        "query.binned_risks",
        "query.placements",
    }
)
"""What a study with networks asks of their scores, beyond what every study asks."""

PROJECTING = (HalfProducts, LevelSums, DirectionCounts)
"""What is asked of the projections of patients' vectors, and of nothing else."""

COLUMNS = ("mean", "first", "mean.grade", "first.grade")
"""The columns of a network's scores; the last two are indices of classes."""


ADAPTED_COLUMNS = (ADAPTED, UNADAPTED)
"""The columns of a network that was adapted, and the scores without it."""

OF_ADAPTED = frozenset({"query.recalibration", "query.binned_risks", "query.placements"})
"""What is asked of them, beyond what every study asks."""

AtCutoff = CentreAlone | RiskCounts | CaseMixAlone

AT_CUTOFF = (CentreAlone, RiskCounts, CaseMixAlone)
"""What is asked of a network's score at its frozen cut-off, and of no other column that a cut-off makes."""

OF_ADAPTED_ALONE = AreasAlone.name
"""What is asked of them at a site that answers alone."""


def adapted(step: Made) -> bool:
    """Whether the step reads scores of an adapted network."""
    return bool(set(step.columns) & set(ADAPTED_COLUMNS))


def made_steps(query: Query) -> tuple[Made, ...]:
    """The steps of a query's recipe that read scores of networks."""
    return tuple(step for step in query.recipe.steps if isinstance(step, Made))


def network_declares(query: Query, study: Study) -> bool:
    """Whether some network of the study asks this: about its own scores and endpoints, where it is evaluated."""
    steps = made_steps(query)
    endpoint = getattr(query, "endpoint", "")
    if isinstance(query, PROJECTING):
        return any(_projects(query, network, study) for network in study.networks)
    if isinstance(query, AreasAlone | AtCutoff):
        return any(_measures(query, network, study) for network in study.networks)
    if isinstance(query, GradeCounts):
        return not query.recipe.steps and any(
            (query.cohort, endpoint) == (n.cohort, n.grades) and query.levels == len(study.endpoint(endpoint).codes)
            for n in study.networks
        )
    if query.name not in QUESTIONS or not steps:
        return False
    if any(adapted(step) for step in steps) and (query.name not in OF_ADAPTED or len(steps) > 1):
        return False
    # Where risks are corrected it scores, and nothing is asked of the scores themselves.
    here = [network for network in study.networks if query.cohort in (network.cohort, *network.evaluate)]
    networks = [network for step in steps for network in here if network.name == step.network]
    named = set(getattr(query, "columns", ()))
    own = named <= {name for step in steps for name in step.names}
    if isinstance(query, GradeTable):
        own = own and query.levels == len(study.endpoint(endpoint).codes)
    return own and any(endpoint in ("", n.grades, n.binary) for n in networks)


def _measures(query: AreasAlone | AtCutoff, network: Network, study: Study) -> bool:
    """Whether a network of the study asks how it does, or would do, in a cohort."""
    return _pairs(query, network, study) if isinstance(query, AreasAlone) else _at_cutoff(query, network, study)


def _pairs(query: AreasAlone, network: Network, study: Study) -> bool:
    """Whether a network of the study asks for both areas of a cohort that has too few sites to be summed."""
    adaptation, steps = network.adaptation, query.recipe.steps
    if adaptation is None or query.cohort not in adaptation.cohorts or not steps or not isinstance(steps[0], Made):
        return False
    if len(study.cohort(query.cohort).sites) >= study.limits.min_sites:
        return False
    made = Made(steps[0].model, network.name, ADAPTED_COLUMNS)
    keys = tuple(key for name in dict.fromkeys((network.grades, network.binary)) for key in study.endpoint(name).keys)
    fixed = steps == (made, Complete(made.names[:1], keys))
    return fixed and query.columns == made.names and query.endpoint == network.binary


def _at_cutoff(query: AtCutoff, network: Network, study: Study) -> bool:
    """Whether it is how the network does, or what its fall is made of, at the cut-off that was frozen with it.

    The recipe is fixed, so that the same patients are asked about whoever asks; one model and one cut-off answer
    (`once`). Of a cohort that has too few sites to be summed each tells what its risks promise, and no more tables.
    """
    steps = query.recipe.steps
    if query.cohort not in network.evaluate or not steps or not isinstance(steps[0], Made):
        return False
    if (query.cohort in network_cohorts(study, network)) == isinstance(query, CaseMixAlone):
        return False
    keys = tuple(key for name in dict.fromkeys((network.grades, network.binary)) for key in study.endpoint(name).keys)
    made = Made(steps[0].model, network.name, COLUMNS)
    scored, last = (made, Complete((f"{network.name}.mean",), keys)), steps[-1]
    cut = (last,) if isinstance(last, Cut) and network_cut(last, network) else ()
    own = query.column == source_column(network)
    own = own and (not isinstance(query, CentreAlone) or query.endpoint == network.binary)
    return own and steps == (*scored, *cut)


def network_cut(step: Cut, network: Network) -> bool:
    """Whether the step calls patients positive by a cut-off of the network's own score."""
    return step.cutoff is not None and step == cut_at(network.name, source_column(network), step.cutoff)


def _projects(query: HalfProducts | LevelSums | DirectionCounts, network: Network, study: Study) -> bool:
    """Whether a network of the study asks this of the projections of one sequence in one of its cohorts.

    The recipe is fixed: all patients who have the sequence and the endpoints, in halves where halves are asked. Other
    subsets would differ by a few patients, and other columns would be other projections.
    """
    projection, steps = network.projection, query.recipe.steps
    if projection is None or query.cohort not in projection.cohorts or not steps or not isinstance(steps[0], Made):
        return False
    named = dict.fromkeys((network.grades, network.binary))
    keys = tuple(key for name in named for key in study.endpoint(name).keys)
    dealt = () if isinstance(query, LevelSums) else (Fold(FOLDS, network.binary),)
    wholes = (Made(steps[0].model, network.name, columns) for columns in _projections(network))
    if not any(steps == (m, Complete(m.names, keys), *dealt) and query.columns == m.names for m in wholes):
        return False
    if isinstance(query, LevelSums | DirectionCounts):
        by = query.endpoint if isinstance(query, LevelSums) else query.by
        levels = len(study.endpoint(by).codes) if by in named else 0 if by or isinstance(query, LevelSums) else 1
        if query.levels != levels:
            return False
    others = len(projection.cohorts) - 1 if query.cohort == projection.cohorts[0] else 1
    return not isinstance(query, DirectionCounts) or len(query.coefficients) <= others


def _projections(network: Network) -> set[tuple[str, ...]]:
    """The columns of each sequence's projection."""
    if network.projection is None:
        return set()
    return {projected_columns(sequence, network.projection.dimensions) for sequence in network.sequences}


def made_ranges(step: Made, query: Query, study: Study) -> Iterator[tuple[str, Range]]:
    """The columns that the step adds, each with its range.

    Raises
    ------
    FedmviError
        414 a network, a column or a cohort that the study does not have.
    """
    network = next((n for n in study.networks if n.name == step.network), None)
    if network is None or query.cohort not in scored_cohorts(study, network):
        raise FedmviError(414, step.network, part="a network")
    if isinstance(query, PROJECTING):
        if step.columns not in _projections(network):
            raise FedmviError(414, ", ".join(step.columns), part="a column")
        yield from ((name, (-LARGEST, LARGEST)) for name in step.names)
        return
    if adapted(step):
        # Both together and nothing else: the same patients have the same two scores, whoever asks.
        declared = network.adaptation is not None and query.cohort in network.adaptation.cohorts
        if step.columns != ADAPTED_COLUMNS or step.by_fold or not declared:
            raise FedmviError(414, ", ".join(step.columns), part="a column")
        yield from ((name, (0.0, 1.0)) for name in step.names)
        return
    if not step.columns or len(set(step.columns)) < len(step.columns) or not set(step.columns) <= set(COLUMNS):
        raise FedmviError(414, ", ".join(step.columns), part="a column")
    if step.by_fold:
        # A model for every fold, of the patients that have folds: no other set of patients can be put together.
        nested = network.development != "published" and query.cohort == network.cohort
        parts = len(study.cohort(network.cohort).sites) if network.by_centre else network.folds
        if not nested or len(step.by_fold) != parts or step.model != step.by_fold[0]:
            raise FedmviError(414, f"{len(step.by_fold)} folds", part="a fold")
    highest = float(len(study.endpoint(network.grades).codes) - 1)
    for name, column in zip(step.names, step.columns, strict=True):
        yield name, (0.0, highest if column.endswith(".grade") else 1.0)


def scored_endpoints(study: Study) -> Iterator[frozenset[str]]:
    """Sets of endpoint columns beside which a network's scores are looked at."""
    for network in study.networks:
        yield from (frozenset(keys) for keys in _keys(study, network))


def _keys(study: Study, network: Network) -> Iterator[tuple[str, ...]]:
    grades, binary = (study.endpoint(name).keys for name in (network.grades, network.binary))
    yield from ((), grades, binary, (*grades, *binary))

"""common/federation: what a coordinator asks to train and use a network over the sites.

A round is two questions in one message: the task `TrainRound`, whose result stays at the site, and the query
`RoundUpdate`, whose sum over the roster is all that the server sees of it. How a site trains is in `client/learning`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from pydantic import Field

from common.federation.codec import STRICT, WeightsField, pack
from common.federation.query import MOST_PATIENTS, Block, Kind, Query, Risk, SiteView, Summary, Task
from common.study.centres import Without
from common.study.networks import Network
from common.study.recipe import Recipe

WHOLE = -1
"""The fold of a training that holds nobody out."""

Round = Annotated[int, Field(ge=0, lt=1_000_000)]
"""The number of a round, from 0."""

UPDATE_BITS = 36
"""Bits behind the point of a summed update: finer than float32 wherever n x change is above 2.5e-4."""

LARGEST_LOSS = 50.0
"""What a patient's loss counts at most in the sums that are told, and what one counts that is no number: neither a
refusal nor a digit far from all others may tell of one patient."""

LARGEST_CHANGE = 2.0**16
"""Largest n x change of a weight, or of a variate, that leaves a site; more is cut, and what is no number is 0. A
thousand such sites stay in the range of exact sums."""

LARGEST_WEIGHT = 1e4
"""Largest absolute weight, or variate, with which a site trains or scores."""


EPSILON_HUNDREDTHS = "epsilon_hundredths"
"""What a receipt of differentially private training says: hundredths of epsilon that the job's rounds have spent at
the site so far, by the accountant, rounded up."""


class Part(NamedTuple):
    """What of the training patients a training leaves out, and is scored by it: a fold, a hospital, or nothing.

    Attributes
    ----------
    fold
        The outer fold, or `WHOLE`.
    without
        The hospital, or "".
    """

    fold: int = WHOLE
    without: str = ""

    @property
    def words(self) -> str:
        """For readers."""
        if self.without:
            return f"without {self.without}"
        return "everybody" if self.fold == WHOLE else f"fold {self.fold + 1} held out"


def left_out_parts(network: Network, sites: Collection[str]) -> tuple[Part, ...]:
    """The parts that a network's trainings leave out, each once: folds of patients, or the hospitals of its cohort."""
    if network.by_centre:
        return tuple(Part(without=site) for site in sorted(sites))
    return tuple(Part(fold) for fold in network.held_out)


@dataclass(frozen=True)
class Job:
    """One training: which network, on which sequences, from which random weights, without whom.

    Attributes
    ----------
    network
        Its name in the protocol.
    combination
        Sequences in canonical order.
    seed
        Which of the trainings of this combination, from 0.
    fold
        The outer fold that is held out, or `WHOLE`.
    without
        The hospital that is left out; "" for none.
    """

    __pydantic_config__ = STRICT
    network: str
    combination: tuple[str, ...]
    seed: int
    fold: int = WHOLE
    without: str = ""

    @property
    def part(self) -> Part:
        """Whom it leaves out."""
        return Part(self.fold, self.without)

    @property
    def stops(self) -> bool:
        """Whether some of its patients are not trained on and decide when it stops."""
        return self.part != Part()

    @property
    def summed(self) -> Recipe:
        """The recipe of its sums: a hospital that is left out adds zeros."""
        return Recipe((Without(self.without),)) if self.without else Recipe()

    @property
    def words(self) -> str:
        """For the ledger."""
        held_out = "everybody" if self.fold == WHOLE else f"all but fold {self.fold}"
        held_out = f"all but {self.without}" if self.without else held_out
        return f"{self.network} on {', '.join(self.combination)}, seed {self.seed}, {held_out}"


@dataclass(frozen=True)
class TrainRound(Task):
    """Trains on from broadcast weights, or only measures them; update, losses and local state stay at the site.

    The receipt names the work; in private training it also has `EPSILON_HUNDREDTHS`.

    Attributes
    ----------
    weights
        (p,) shared weights, in the order of `common/networks/weights.py`.
    variate
        (p,) the server's control variate of SCAFFOLD; empty for other strategies.
    class_weights
        Of the loss, one a class.
    before
        Digest of the round before, whose local state (optimiser, normalisation, variate) goes on; "" for the first.
    train
        False: measure the losses at these weights only.
    keep
        Digest of the round whose local state belongs to the best weights so far: kept beyond the last two rounds,
        because `Member.local` may name it in the end; "" where nothing local belongs to weights.
    """

    name: ClassVar[str] = "task.train-round"
    journaled: ClassVar[bool] = False

    cohort: str
    job: Job
    round: Round
    weights: WeightsField
    variate: WeightsField
    class_weights: tuple[float, ...]
    before: str
    train: bool = True
    keep: str = ""

    def words(self) -> str:
        """See `Task`."""
        return f"{'train' if self.train else 'measure'} {self.job.words}, round {self.round}"


@dataclass(frozen=True)
class RoundUpdate(Query):
    """Sum over the patients of the weights' change in one round: n x update, and n.

    Attributes
    ----------
    task
        Digest of the `TrainRound` that made it.
    size
        Number of weights.
    variates
        Whether SCAFFOLD's change of the site's variate comes too, also n-fold.
    """

    name: ClassVar[str] = "query.round-update"
    risk: ClassVar[Risk] = Risk.MODEL
    journaled: ClassVar[bool] = False

    job: Job
    round: Round
    task: str
    size: int
    variates: bool = False

    def blocks(self) -> Mapping[str, Block]:
        """See `Query`."""
        update = Block((self.size,), Kind.UPDATE, UPDATE_BITS)
        changes = {"update": update, "variate": update} if self.variates else {"update": update}
        return {**changes, "patients": Block((), Kind.COUNT)}

    def words(self) -> str:
        """See `Query`."""
        return f"{self.size} weights' change in round {self.round} of {self.job.words}"

    def plausible(self, summary: Summary, sites: int) -> bool:
        """See `Query`."""
        changes = (summary[name] for name in self.blocks() if name != "patients")
        bounded = all(float(np.max(np.abs(change), initial=0.0)) <= sites * LARGEST_CHANGE for change in changes)
        return bounded and 0 <= int(summary["patients"]) <= sites * MOST_PATIENTS

    @property
    def series(self) -> tuple[str, int]:
        """See `Query`."""
        return f"{self.name} {self.cohort} {self.job.words}", self.round

    def respond(self, site: SiteView) -> Summary:
        """See `Query`."""
        made = site.work(self.task)
        return {name: made[name] for name in self.blocks()}


@dataclass(frozen=True)
class RoundLoss(Query):
    """Sums of the loss over training and validation patients at the weights that a round began with."""

    name: ClassVar[str] = "query.round-loss"
    risk: ClassVar[Risk] = Risk.SUM
    journaled: ClassVar[bool] = False

    job: Job
    round: Round
    task: str

    def blocks(self) -> Mapping[str, Block]:
        """See `Query`."""
        sums = {name: Block((), Kind.REAL) for name in ("training_loss", "validation_loss")}
        return {**sums, **{name: Block((), Kind.COUNT) for name in ("training_patients", "validation_patients")}}

    def words(self) -> str:
        """See `Query`."""
        return f"sums of the loss before round {self.round} of {self.job.words}"

    def plausible(self, summary: Summary, sites: int) -> bool:
        """See `Query`."""
        parts = [(float(summary[f"{p}_loss"]), int(summary[f"{p}_patients"])) for p in ("training", "validation")]
        return all(0 <= n <= sites * MOST_PATIENTS and 0.0 <= loss <= LARGEST_LOSS * n for loss, n in parts)

    @property
    def series(self) -> tuple[str, int]:
        """See `Query`."""
        return f"{self.name} {self.cohort} {self.job.words}", self.round

    def respond(self, site: SiteView) -> Summary:
        """See `Query`."""
        made = site.work(self.task)
        return {name: made[name] for name in self.blocks()}


@dataclass(frozen=True)
class Member:
    """Weights, and whom they score.

    Attributes
    ----------
    fold
        Only the patients of this fold (out-of-fold scores), or `WHOLE`: everybody.
    weights
        (p,)
    local
        Digest of the `TrainRound` whose site-local normalisation goes with the weights; "" for none: where the
        network needs one it is estimated from this cohort's images.
    without
        Only the patients of this hospital, which the weights never saw; "" for those of all.
    """

    __pydantic_config__ = STRICT
    fold: int
    weights: WeightsField
    local: str = ""
    without: str = ""

    @property
    def part(self) -> Part:
        """Whom it scores."""
        return Part(self.fold, self.without)


@dataclass(frozen=True)
class ScorePatients(Task):
    """Scores a cohort's patients; the scores stay at the site, as columns that recipes may use (`recipe.Made`).

    Its columns: `mean` and `first` (probability that MVI is present, as the mean over combinations of slices and by
    the first slices), `mean.grade` and `first.grade` (index of the likeliest class). Not scored: NaN.

    Attributes
    ----------
    project
        Whether the projections of the patients' vectors are kept too, by sequence (`common/networks/projection.py`),
        as the study's network says; NaN where a patient lacks the sequence.
    """

    name: ClassVar[str] = "task.score-patients"

    cohort: str
    network: str
    combination: tuple[str, ...]
    seed: int
    members: tuple[Member, ...]
    project: bool = False

    @property
    def model(self) -> str:
        """Names what scores, wherever it does: this is what is frozen."""
        return pack(ScorePatients("", self.network, self.combination, self.seed, self.members), ScorePatients).digest

    def words(self) -> str:
        """See `Task`."""
        further = " and projections" if self.project else ""
        return (
            f"score {self.cohort} by {self.network} on {', '.join(self.combination)}, seed {self.seed}; "
            f"scores{further} stay"
        )


@dataclass(frozen=True)
class ExplainPatients(Task):
    """Makes Grad-CAM pictures of a few patients; they stay at the site."""

    name: ClassVar[str] = "task.explain-patients"

    cohort: str
    network: str
    combination: tuple[str, ...]
    seed: int
    member: Member

    def words(self) -> str:
        """See `Task`."""
        return f"make pictures of what {self.network} looks at in {self.cohort}; they stay"

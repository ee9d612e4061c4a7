"""server/study: scores as predictors: what a model sees of them in training, and what makes them anywhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from common.errors import FedmviError
from common.study.analyses import FOLDS
from common.study.chain import ChainedImpute
from common.study.coding import CodedColumn
from common.study.harmonisation import Combat
from common.study.protocol import Model, Study
from common.study.recipe import Complete, Cut, DraftScore, Fold, Impute, Made, ModelColumns, Recipe, Select
from common.study.scores import named_network, of_score, score_column, source_column
from common.study.scoring import Parts
from common.study.terms import Term
from server.study.network_development import Developed
from server.study.network_scores import COLUMNS, Combination, Frozen
from server.study.reduced import Chosen, ReducedModel

Filling = Impute | ChainedImpute


@dataclass(frozen=True)
class ScoreInput:
    """A score as a predictor.

    Attributes
    ----------
    name, source
        The predictor, and the model, or the network and its sequences, whose score it is.
    cut
        Names it, and cuts it where the model says so.
    read
        In training: what networks made, out of fold; None for a reduced model.
    base, draft
        In training: the patients of a reduced model, and their out-of-fold scores; None for a network.
    known
        The column that is missing where there is no score; "" for a reduced model, whose patients are complete.
    use
        Anywhere else: what makes the score of the frozen model, and the column.
    """

    name: str
    source: str
    cut: Cut | None
    read: Made | None
    base: ModelColumns | None
    draft: DraftScore | None
    known: str
    use: Parts


@dataclass(frozen=True)
class Scores:
    """All scores that may be predictors of further models.

    Attributes
    ----------
    reduced
        By the model's name.
    chosen
        The model that each choice took, by the choice's name.
    networks
        By the network's name.
    """

    reduced: Mapping[str, ReducedModel]
    chosen: Mapping[str, str | None]
    networks: Mapping[str, Developed | FedmviError]

    @classmethod
    def of(
        cls,
        study: Study,
        reduced: Sequence[ReducedModel],
        chosen: Sequence[Chosen],
        networks: Sequence[Developed | FedmviError],
    ) -> Scores:
        """Those that a study has developed."""
        return cls(
            {one.model.name: one for one in reduced},
            {one.choice.name: one.model for one in chosen},
            {network.name: found for network, found in zip(study.networks, networks, strict=True)},
        )

    def term(self, study: Study, term: Term) -> ScoreInput | FedmviError:
        """A predictor that is a score; error 659 where it was not found, or what its network met."""
        name = of_score(term.variable)
        if named_network(study, name) is not None:
            return self._of_network(study, term, name)
        found = self.reduced.get(self.chosen.get(name, name) or "")
        if found is None or found.parts is None or isinstance(found.draft, FedmviError):
            return FedmviError(659, model=name)
        cutoff = term.cutoff if term.cutoff is not None else found.cutoff
        cut = _cut(study, term, found.draft.column, cutoff)
        if isinstance(cut, FedmviError):
            return cut
        use = found.parts if cut is None else _with(found.parts, cut)
        read = ModelColumns(found.model.name)
        return ScoreInput(term.variable, found.model.name, cut, None, read, found.draft, "", use)

    def network_scored(self, name: str) -> tuple[Parts, str, float] | FedmviError:
        """What makes a network's score anywhere, its column, and its cut-off."""
        found = self._network(name)
        if isinstance(found, FedmviError):
            return found
        developed, _, frozen, parts = found
        cutoff = network_cutoff(developed, frozen)
        if isinstance(cutoff, FedmviError):
            return cutoff
        return parts, source_column(developed.network), cutoff

    def network_parts(self, name: str) -> tuple[Parts, str] | FedmviError:
        """What makes a network's score anywhere, and its column, whether a cut-off could be chosen or not."""
        found = self._network(name)
        if isinstance(found, FedmviError):
            return found
        return found[3], source_column(found[0].network)

    def _network(self, name: str) -> tuple[Developed, Combination, Frozen, Parts] | FedmviError:
        """A network, its chosen sequences as they are frozen, and what makes their scores; or why there are none."""
        developed = self.networks[name]
        if isinstance(developed, FedmviError):
            return developed
        best = developed.chosen
        if best is None:
            return FedmviError(659, model=name)
        frozen = developed.frozen[best, 0]
        if isinstance(frozen, FedmviError):
            return frozen
        made, column = Made(frozen.model, name, COLUMNS), source_column(developed.network)
        return developed, best, frozen, Parts((), (made,), (), (column,), ())

    def _of_network(self, study: Study, term: Term, name: str) -> ScoreInput | FedmviError:
        found = self._network(name)
        if isinstance(found, FedmviError):
            return found
        developed, best, frozen, use = found
        column = source_column(developed.network)
        cut = _cut(study, term, column, term.cutoff if term.cutoff is not None else network_cutoff(developed, frozen))
        if isinstance(cut, FedmviError):
            return cut
        read = Made(developed.out_of_fold[best], name, COLUMNS)
        source = f"{name} ({', '.join(best)})"
        use = use if cut is None else _with(use, cut)
        return ScoreInput(term.variable, source, cut, read, None, None, column, use)


def network_cutoff(developed: Developed, frozen: Frozen) -> float | FedmviError:
    """The frozen cut-off of the way of inference that the network's score is; error 641 where none could be chosen."""
    if frozen.cutoffs is None:
        network = developed.network
        return FedmviError(641, column=source_column(network), cohort=network.cohort)
    return float(frozen.cutoffs[("mean", "first").index(developed.network.inference)])


def _cut(study: Study, term: Term, column: str, cutoff: float | FedmviError) -> Cut | FedmviError | None:
    """The step that makes the predictor's column of the score; None where the score is that column."""
    name = score_column(study, term)
    if term.coding == "above":
        return cutoff if isinstance(cutoff, FedmviError) else Cut(column, name, cutoff)
    return None if name == column else Cut(column, name)


def _with(parts: Parts, cut: Cut) -> Parts:
    return replace(parts, chain=(*parts.chain, cut))


def training_recipe(
    model: Model,
    plain: tuple[CodedColumn, ...],
    filling: tuple[Filling, ...],
    inputs: Sequence[ScoreInput],
    harmonising: tuple[Combat, ...] = (),
) -> Recipe:
    """From a site's table to the frame that a model is fitted on; `plain` are all columns that it reads there.

    Out-of-fold scores of a reduced model are dealt on its own patients, in the folds in which it was developed; only
    then the patients are left out of whom other predictors are unknown.
    """
    keys = (model.endpoint,)
    recipe = Recipe((Select(plain),) if plain else ())
    recipe = recipe.then(*dict.fromkeys(one.read for one in inputs if one.read is not None))
    drafts = dict.fromkeys((one.base, one.draft) for one in inputs if one.base is not None and one.draft is not None)
    recipe = recipe.then(*(base for base, _ in drafts))
    recipe = recipe.then(*dict.fromkeys([*harmonising, *(step for one in inputs for step in one.use.harmonising)]))
    for base, draft in drafts:
        recipe = recipe.then(Complete((base.complete,), keys), Fold(FOLDS, model.endpoint), draft)
    recipe = recipe.then(*dict.fromkeys(one.cut for one in inputs if one.cut is not None), *filling)
    known = tuple(dict.fromkeys([*(column.name for column in plain), *(one.known for one in inputs if one.known)]))
    return recipe.then(Complete(known, keys))

"""client/release: what a run may be told once: numbers of a server's choice of which no second value is answered.

Tables of ranks, weights of time, models of folds and imputed values are made once a run by an honest server. Two
answers that differ in such numbers only tell, by their difference, the few patients whom the two tell apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from client.release.expression_scope import expression_values
from client.release.hazard_scope import grouping, hazard_values
from client.release.network_scope import adapted
from client.release.scope import columns_of
from client.release.shift_scope import shift_values
from common.errors import FedmviError
from common.federation.codec import pack
from common.federation.query import Query
from common.files import make_private, write_whole
from common.study.analyses import IMPUTERS
from common.study.centres import centre_of
from common.study.chain import ChainedImpute
from common.study.coding import coded_columns
from common.study.fingerprint import canonical_json, digest
from common.study.harmonisation import Combat
from common.study.modelling import is_score
from common.study.protocol import Study
from common.study.recipe import Cut, DraftScore, Impute, Made, Outside, Resample, Score, Step
from common.study.scores import GROUP, plain_columns

_LINE = re.compile(rb"[0-9a-f]{64} [0-9a-f]{64}")


def _centre(query: Query) -> list[str]:
    """What is set once without each centre: a model is developed without it, and measured there."""
    centre = centre_of(query.recipe)
    return [] if centre is None else [f"without site {centre.site}"]


def _fillings_of(steps: Sequence[Step], names: frozenset[str]) -> str:
    """What fills the gaps of these columns, in whatever order a frame has them."""
    values = {name: value for step in steps if isinstance(step, Impute)
              for name, value in zip(step.names, step.values, strict=True) if name in names}  # fmt: skip
    chained = [pack(step, ChainedImpute).digest for step in steps if isinstance(step, ChainedImpute)
               if names & set(step.names)]  # fmt: skip
    return canonical_json([values, chained])


class Once:
    """Remembers the digests of such numbers in one file of a run's folder, each behind the digest of what is set."""

    def __init__(self, run: Path, study: Study) -> None:
        self._path, self._study = run / "once.txt", study
        self._new = False

    def admit(self, query: Query) -> None:
        """Error 414 for a second value of what may have one; 422 if what is remembered is damaged."""
        for key, value, most in self._values(query):
            known = self._known.get(digest(key), ())
            if value not in known and len(known) >= most:
                raise FedmviError(414, f"a second value: {key}", part="a number, set before,")

    def keep(self, query: Query) -> None:
        """Take the values of a question whose answer must not leave before `write`. Errors as `admit`."""
        self.admit(query)
        for key, value, _ in self._values(query):
            known = self._known.setdefault(digest(key), [])
            if value not in known:
                known.append(value)
                self._new = True

    def write(self) -> None:
        """Remember what was taken; on return it is on disk."""
        if not self._new:
            return
        make_private(self._path.parent)
        lines = [f"{key} {value}\n" for key, values in self._known.items() for value in values]
        write_whole(self._path, "".join(lines).encode("ascii"))
        self._new = False

    def _values(self, query: Query) -> Iterator[tuple[str, str, int]]:
        """What is set, to what, and how many values it may have in a run."""
        made = [step for step in query.recipe.steps if isinstance(step, Made)]
        if not query.pooled:
            for scored in made:
                # Two models' guarded tables of one site would tell whom the two part: one answers there. Of that one as
                # adapted there are no tables, only areas (`network_scope`).
                models, part = canonical_json(list(scored.models)), "adapted" if adapted(scored) else "alone"
                yield canonical_json([part, scored.network, query.cohort]), digest(models), 1
        if query.once or query.once_by_row:
            # Every network has columns of the same names, whatever it was trained on.
            scores = sorted(model for step in made for model in step.models)
            # A model is developed on everybody, without each fold and on each bootstrap set.
            parts = [f"without {step.fold}" for step in query.recipe.steps if isinstance(step, Outside)]
            parts += [f"set {step.replicate}" for step in query.recipe.steps if isinstance(step, Resample)]
            # Two models over the same columns, of which one is harmonised, are as different as two over other columns.
            parts += [f"harmonised {step.model}" for step in query.recipe.steps if isinstance(step, Combat)]
            parts += _centre(query)
            parts += grouping(query) if GROUP in columns_of(query) else []
            endpoint = getattr(query, "endpoint", "")
            of = [query.name, query.cohort, sorted(columns_of(query)), endpoint, *scores, *parts]
            if query.once:
                values = {name: getattr(query, name) for name in query.once}
                yield canonical_json(of), pack(values).digest, 1
            for name in query.once_by_row:
                for place, row in enumerate(np.atleast_1d(getattr(query, name))):
                    yield canonical_json([*of, name, place]), pack({name: row}).digest, 1
        yield from self._scores(query)
        yield from self._filled(query)
        yield from shift_values(query)
        yield from expression_values(query, self._study)
        yield from self._harmonised(query)
        yield from hazard_values(query, self._study)

    def _scores(self, query: Query) -> Iterator[tuple[str, str, int]]:
        """As `_values`, of scores and their cut-offs."""
        centre = _centre(query)
        for step in query.recipe.steps:
            if isinstance(step, Made) and step.by_fold:
                # Two mixtures could differ in one fold; with its plain models a mixture still does (security.md).
                key = canonical_json(["by fold", step.network, query.cohort])
                yield key, digest(canonical_json(list(step.by_fold))), 1
            elif isinstance(step, DraftScore):
                # Scores of the server's making, one after the other, would tell of everybody in the end.
                key = canonical_json(["draft", query.cohort, step.model, step.replicate, *centre])
                yield key, pack(step, DraftScore).digest, 1
                # Counts at thresholds tell no more of a draft than its ranks do.
                if query.name not in ("query.score_counts", "query.threshold_counts") and not centre:
                    # Two drafts that share a feature would be two thresholds next to one patient.
                    yield canonical_json(["draft predictor", query.cohort]), digest(step.model), 1
            elif isinstance(step, Score):
                # Gaps that are filled by other numbers make another score of whoever has them.
                filled = _fillings_of(query.recipe.steps, frozenset(step.names))
                yield canonical_json(["score", step.model]), digest(pack(step, Score).digest + filled), 1
            elif isinstance(step, Cut):
                key = canonical_json(["cut", step.name, step.source if step.name == GROUP else ""])
                yield key, pack(step, Cut).digest, 1
                if step.cutoff is not None and step.cutoff not in self._declared_cutoffs:
                    yield canonical_json(["cut-off", step.source]), digest(canonical_json(step.cutoff)), 1

    def _filled(self, query: Query) -> Iterator[tuple[str, str, int]]:
        """As `_values`, of what fills missing values."""
        for step in query.recipe.steps:
            if isinstance(step, Impute):
                for name, value in zip(step.names, step.values, strict=True):
                    key = canonical_json(["impute", name, *_centre(query)])
                    yield key, digest(canonical_json(value)), self._fillings(name)
            elif isinstance(step, ChainedImpute) and query.name != IMPUTERS["chained"]:  # it grows while it is fitted
                key = canonical_json(["chained", *step.names, *_centre(query)])
                yield key, pack(step, ChainedImpute).digest, self._imputers(step)

    def _harmonised(self, query: Query) -> Iterator[tuple[str, str, int]]:
        """As `_values`, of what harmonises columns: every model's once."""
        for step in query.recipe.steps:
            if isinstance(step, Combat):
                yield canonical_json(["combat", step.model, *_centre(query)]), pack(step, Combat).digest, 1

    def _imputers(self, step: ChainedImpute) -> int:
        """How many models of the study may fill these columns by regressions, each in its own way."""
        models = [model for model in self._study.models if model.missing == "chained"]
        names = [tuple(c.name for c in coded_columns(self._study, model.predictors)) for model in models]
        return max(1, sum(set(step.names) == set(of) for of in names))

    def _fillings(self, name: str) -> int:
        """How many numbers fill a column: the mean or the median of a cohort is one, whichever models use it."""
        kinds = {
            (model.missing, model.cohort, model.name if model.harmonise is not None else "")
            for model in self._study.models
            if model.missing in ("mean", "median") and name in {c.name for c in plain_columns(self._study, model)}
        }
        return max(1, len(kinds))

    @cached_property
    def _declared_cutoffs(self) -> set[float]:
        """Cut-offs of scores that the protocol itself says."""
        terms = (term for model in self._study.models for term in model.predictors if is_score(term.variable))
        return {term.cutoff for term in terms if term.cutoff is not None}

    @cached_property
    def _known(self) -> dict[str, list[str]]:
        """Digests of values by the digest of their key."""
        known: dict[str, list[str]] = {}
        lines = self._path.read_bytes().split(b"\n") if self._path.exists() else [b""]
        if lines.pop() != b"" or not all(_LINE.fullmatch(line) for line in lines):
            raise FedmviError(422, str(self._path))
        for line in lines:
            key, value = line.decode("ascii").split(" ")
            known.setdefault(key, []).append(value)
        return known

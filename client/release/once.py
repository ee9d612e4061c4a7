"""client/release: what a run may be told once: numbers of a server's choice of which no second value is answered.

Tables of ranks, weights of time, models of folds and imputed values are made once a run by an honest server. Two
answers that differ in such numbers only tell, by their difference, the few patients whom the two tell apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from client.release.scope import columns_of
from common.errors import FedmviError
from common.federation.codec import pack
from common.federation.query import Query
from common.files import make_private, write_whole
from common.study.analyses import IMPUTERS
from common.study.chain import ChainedImpute
from common.study.fingerprint import canonical_json, digest
from common.study.protocol import Study
from common.study.recipe import Impute, Made, coded_columns


class Once:
    """Remembers, in the folder of a run, the digests of such numbers."""

    def __init__(self, run: Path, study: Study) -> None:
        self._folder, self._study = run / "once", study

    def admit(self, query: Query) -> None:
        """Error 414 for a second value of what may have one."""
        for key, value, most in self._values(query):
            known = self._known(key)
            if value not in known and len(known) >= most:
                raise FedmviError(414, f"a second value: {key}", part="a number, set before,")

    def keep(self, query: Query) -> None:
        """Remember the values of a question that is answered now; on return they are on disk. Errors as `admit`."""
        self.admit(query)
        for key, value, _ in self._values(query):
            known = self._known(key)
            if value not in known:
                make_private(self._folder)
                write_whole(self._path(key), "\n".join([*known, value]).encode("ascii"))

    def _values(self, query: Query) -> Iterator[tuple[str, str, int]]:
        """What is set, to what, and how many values it may have in a run."""
        made = [step for step in query.recipe.steps if isinstance(step, Made)]
        if not query.pooled:
            for scored in made:
                # Two models' guarded tables of one site would tell whom the two part: one answers there.
                models = canonical_json(list(scored.models))
                yield canonical_json(["alone", scored.network, query.cohort]), digest(models), 1
        if query.once:
            # Every network has columns of the same names, whatever it was trained on.
            scores = sorted(model for step in made for model in step.models)
            of = [query.name, query.cohort, sorted(columns_of(query)), getattr(query, "endpoint", ""), *scores]
            values = {name: getattr(query, name) for name in query.once}
            yield canonical_json(of), pack(values).digest, 1
        for step in query.recipe.steps:
            if isinstance(step, Made) and step.by_fold:
                # Two mixtures could differ in one fold; with its plain models a mixture still does (security.md).
                key = canonical_json(["by fold", step.network, query.cohort])
                yield key, digest(canonical_json(list(step.by_fold))), 1
            elif isinstance(step, Impute):
                yield canonical_json(["impute", *step.names]), pack(step, Impute).digest, self._imputers(step)
            elif isinstance(step, ChainedImpute) and query.name != IMPUTERS["chained"]:  # it grows while it is fitted
                yield canonical_json(["chained", *step.names]), pack(step, ChainedImpute).digest, self._imputers(step)

    def _imputers(self, step: Impute | ChainedImpute) -> int:
        """How many models of the study may impute these columns, each in its own way."""
        kinds = ("chained",) if isinstance(step, ChainedImpute) else ("mean", "median")
        models = [model for model in self._study.models if model.missing in kinds]
        names = [tuple(c.name for c in coded_columns(self._study, model.predictors)) for model in models]
        return max(1, sum(set(step.names) == set(of) for of in names))

    def _path(self, key: str) -> Path:
        return self._folder / f"{digest(key)}.txt"

    def _known(self, key: str) -> list[str]:
        path = self._path(key)
        return path.read_text(encoding="ascii").split() if path.exists() else []

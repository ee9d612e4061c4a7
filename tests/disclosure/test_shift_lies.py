"""disclosure: a hospital that tells of itself what cannot be true: nothing of it is taken, and it is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from common.federation.query import Query
from common.federation.totals import check_summary
from common.statistics.by_centre import CentreAlone
from common.statistics.case_mix import CaseMixAlone
from common.statistics.guaranteed_sensitivity import GuaranteedAlone
from common.statistics.recalibration import Rule
from common.statistics.recalibration_alone import RecalibrationAlone
from common.statistics.risk_quality import RiskQualityAlone
from common.statistics.score_shift import ScoreShiftAlone
from common.statistics.site_profile import SiteProfile
from common.study.recipe import Frame, Recipe, Score
from simulation.shift_views import FrameView

SCORED = Recipe((Score("m", "y", ("x",), (1.0,), 0.0),))
OWN: dict[str, Query] = {
    "profile": SiteProfile("t", Recipe(), ("x", "z"), ("x", "z"), np.zeros(2), np.ones(2), np.ones(3), min_cell=5),
    "centre": CentreAlone("t", SCORED, "y", "score.m", 10, min_cell=5),
    "shift": ScoreShiftAlone("t", SCORED, "y", "score.m", 10, np.ones((2, 3)), False, min_cell=5),
    "recalibration": RecalibrationAlone("t", SCORED, "y", "score.m", ("x",), Rule.CLOSED_TESTING, 10, min_cell=5),
    "case mix": CaseMixAlone("t", SCORED, "score.m", 10, min_cell=5),
    "quality": RiskQualityAlone("t", SCORED, "y", "score.m", 0.5, 10, min_cell=5),
    "cut-off": GuaranteedAlone("t", SCORED, "y", "score.m", 0.8, 10, min_cell=5),
}


def honest() -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(7)
    x, z, keys = rng.normal(size=200), rng.normal(size=200), rng.integers(0, 2**63, 200).astype(np.uint64)
    y = (rng.random(200) < 1 / (1 + np.exp(-x))).astype(np.float64)
    frame = Frame({"x": x, "z": z, "score.m": np.round(1 / (1 + np.exp(-0.7 * x)), 4)}, {"y": y}, 200, keys)

    class View(FrameView):
        def frame(self, query: Query) -> Frame:
            return self.frames[query.cohort]

    return {name: dict(query.respond(View({"t": frame}))) for name, query in OWN.items()}


LIES = [
    ("profile", "above", [0, 0]), ("profile", "above", [1, 199]), ("profile", "sum", 1e300), ("profile", "sum", 3e3),
    ("profile", "square", 0.0), ("profile", "square", -1.0), ("profile", "told", 2), ("profile", "n", 0),
    ("profile", "counts", 4), ("profile", "counts", 1000), ("centre", "auc", [1e15, 0.1]),
    ("centre", "auc", [0.7, 1e-300]),
    ("centre", "expected", 0.0), ("centre", "expected", 1e300), ("centre", "classes", [0, 200, 0]),
    ("centre", "slope", [1e300, 0.1]), ("centre", "estimable", 5), ("shift", "apart", 1e300), ("shift", "estimable", 2),
    ("shift", "ratio", [0.0, 0.0, 0.0]), ("shift", "large", [1e300, 1.0]), ("recalibration", "method", 9),
    ("recalibration", "line", [0.0, -1.0, 0.0, 0.0]), ("recalibration", "line", [1e300, 1.0, 0.0, 0.0]),
    ("cut-off", "cutoff", [0.4123, 0.8]), ("cut-off", "cutoff", [5.0, 0.8]), ("cut-off", "error", -3),
    ("case mix", "auc", [2.0, 0.1]), ("case mix", "prevalence", 1e300), ("quality", "measures", 1e300),
    ("quality", "measures", 2.0), ("quality", "told", 3),
]  # fmt: skip


def test_what_an_honest_site_tells_of_itself_is_taken() -> None:
    for name, summary in honest().items():
        check_summary(OWN[name], summary)
        assert OWN[name].plausible(summary, 1), name


@pytest.mark.parametrize(("what", "block", "value"), LIES, ids=str)
def test_what_cannot_be_true_of_a_site_is_not_taken(what: str, block: str, value: Any) -> None:
    """The coordinator would divide by zero, or freeze what no other site takes."""
    summary = honest()[what]
    summary[block] = np.broadcast_to(np.array(value, dtype=summary[block].dtype), summary[block].shape)
    assert not OWN[what].plausible(summary, 1)

"""server: an error at a training site that can be mended stops the run; a refusal is a result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from common.errors import FedmviError
from common.federation.query import Ask
from common.federation.runner import Reply, conclude
from common.statistics.grades import GradeCounts
from server.study.checkpoints import MemoryCheckpoints
from server.study.network_development import Developed, develop_all
from server.study.network_results import publish_all
from tests.server.study.bench_sites import study_of


@pytest.mark.parametrize("number", [212, 377, 390, 392, 394, 503, 508, 511])
def test_a_fault_that_a_site_can_mend_stops_the_run(number: int) -> None:
    with pytest.raises(FedmviError) as stopped:
        _develop_where_training_meets(number)
    assert stopped.value.number == number


@pytest.mark.parametrize("number", [401, 410])
def test_a_refusal_by_a_site_is_a_result(number: int) -> None:
    developed = _develop_where_training_meets(number)
    assert not developed.models and developed.chosen is None
    results = publish_all(study_of(), [developed], [[]])
    assert {r.status for r in results if r.statistic in ("network-selection", "network-combinations")} == {"refused"}


def _develop_where_training_meets(number: int) -> Developed:
    """A development at sites that count their patients and meet an error when they train."""

    class Meeting:
        def ask(self, asks: Sequence[Ask]) -> list[Reply]:
            levels: Reply = {"levels": np.array([30, 20, 10])}
            return [levels if isinstance(a.question, GradeCounts) else FedmviError(number) for a in asks]

    (developed,) = conclude(Meeting(), [develop_all(study_of(), MemoryCheckpoints(), lambda _: None)])[0]
    assert isinstance(developed, Developed)
    return developed

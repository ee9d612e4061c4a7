"""tests/simulation: plain models find MVI in pictures as far as it was put there, and not where it was not."""

from __future__ import annotations

import pytest

from common.errors import FedmviError
from simulation.cohorts import truth
from simulation.cohorts.consortium import Consortium
from simulation.signal import VARIABLES, measure_signal

SIZES = {"lower": 4.5, "median": 5.0, "upper": 5.5}


def consortium(factor: float) -> Consortium:
    """One hospital whose patients with MVI differ by the processes in their pictures only, in these units."""
    groups = [{"label": "train", "patients": 24, "present": 12}, {"label": "test", "patients": 16, "present": 8}]
    return Consortium.model_validate(
        {
            "name": "one",
            "title": "One hospital",
            "sites": [
                {
                    "name": "hospital-a",
                    "groups": groups,
                    "signal": factor,
                    "scanner": {"spacing_mm": 3.8, "slice_mm": 7.0, "timing_s": 0.0},
                }
            ],
            "clinical": {"size_absent": SIZES, "size_present": SIZES},
            "imaging": {"matrix": 96, "slices": 32, "phases": ["arterial", "portal"]},
        }
    )


def test_pictures_tell_as_much_as_was_put_into_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(truth, "POPULATION", 500)  # of the best AUC, only that of the drawn patients is asked for
    told = {}
    for factor in (0.0, 4.0):
        finished: list[int] = []
        rows = measure_signal(consortium(factor), [3], "train", ["test"], 1, finished.append)
        assert finished == [3]
        assert [(row.label, row.model, row.patients) for row in rows] == [("test", model, 16) for model in VARIABLES]
        assert all(row.error is None and len(row.aucs) == len(row.best) == 1 for row in rows)
        clinical, told[factor], hybrid = rows
        assert factor or max(clinical.mean, hybrid.mean) < 0.95  # findings alone never tell MVI without fail
    assert told[0.0].best[0] == pytest.approx(0.5, abs=0.01)
    assert 0.2 < told[0.0].mean < 0.8
    assert told[4.0].best[0] > 0.98
    assert told[4.0].mean > 0.85


@pytest.mark.parametrize(
    ("changes", "labels", "absent"),
    [
        ({"imaging": None}, ["test"], "images"),
        ({}, ["external"], "a group 'external'"),
        ({"sites": ()}, ["test"], "a group 'train', a group 'test'"),
    ],
)
def test_a_signal_that_cannot_be_measured_is_an_error(
    changes: dict[str, object], labels: list[str], absent: str
) -> None:
    with pytest.raises(FedmviError) as caught:
        measure_signal(consortium(1.0).model_copy(update=changes), [1], "train", labels, 1, lambda _: None)
    assert (caught.value.number, caught.value.facts["absent"]) == (812, absent)

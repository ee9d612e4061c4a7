"""simulation: the benchmark of features compares three ways on the same patients, and tells where they differ."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from common.study.preparation import Preparation, Radiomics
from simulation.benchmarks import preparation
from simulation.benchmarks.preparation import LARGEST, differences
from simulation.cli import app


def small() -> Preparation:
    return Preparation(
        modality="ct",
        phases=("plain", "portal"),
        reference="portal",
        subtractions=("portal-minus-plain",),
        radiomics=Radiomics(regions=("tumour", "peritumour-5mm")),
    )


def test_ours_gives_the_features_of_plain_pyradiomics_from_scans_of_another_spacing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Resampled as parts or as wholes, subtracted and cropped: no feature is another."""
    monkeypatch.setattr(preparation, "workload", small)
    monkeypatch.setattr(preparation, "as_done", lambda way, tasks, *_: enumerate(map(way, tasks)))
    command = ["benchmark", "preparation", "--size", "80", "48", "40", "--diameter", "8", "--registration", "--json"]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    report = json.loads(done.output)
    assert done.exit_code == 0
    assert report["digest_equal"]
    assert report["ours"]["features"] == 3 * 2 * 1116 + 2 * 14
    assert report["ours"]["largest_difference"] <= 1e-6
    assert report["ours"]["hand_cropped_over_1_percent"] > 0
    assert set(report["ratios"]) == {"plain", "hand-cropped"}
    for side in (report["ours"], *report["baselines"]):
        assert set(side["steps_s"]) == set(side["peaks_mib"]) == {"regions", "resampling", "features"}
    seconds = sum(report["ours"]["steps_s"].values())
    alone = report["ours"]["registration_s"]
    assert report["ours"]["registration_share"] == pytest.approx(alone / (alone + seconds))
    assert report["ours"]["registration_peak_mib"] > 0


def test_a_lesion_that_does_not_fit_is_refused() -> None:
    done = CliRunner().invoke(app, ["benchmark", "preparation", "--size", "60", "60", "50"])
    assert done.exit_code == 2
    assert "24 mm more" in done.output


def test_differences_are_relative_and_a_missing_feature_is_one() -> None:
    plain = {"same": 3.0, "both missing": float("nan"), "apart": 2.0, "missing": 1.0, "zero": 0.0}
    other = {"same": 3.0, "both missing": float("nan"), "apart": 2.002, "missing": float("nan"), "zero": 0.0}
    assert differences(other, plain).tolist() == pytest.approx([0, 0, 0.001, LARGEST, 0])

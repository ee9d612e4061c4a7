"""tests/server/study: the scale for MR intensities is the mean of the hospitals' landmarks, ready for a protocol."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from common.errors import FedmviError
from common.published.results import Estimate, Result, Results
from common.study.declarations import as_tuples
from common.study.features import LANDMARKS
from common.study.preparation import Preparation
from server.study.landmarks import as_toml, standard_scale
from server.study.results import write_results
from server.study.run_directory import RunDirectory
from tests.docs.reader import Reader


def results(estimates: list[Estimate]) -> Results:
    result = Result(id="analysis.marks", statistic="analysis", title="", cohort="train", sites=["a"], how="exact",
                    estimates=estimates)  # fmt: skip
    return Results(
        study="landmarks", title="", description="", simulated=True, sources=[], study_fingerprint="a" * 64,
        code_fingerprint="b" * 64, preparation_fingerprint="c" * 64, min_cell=5, cohorts=[], under_limits=[],
        variables={}, results=[result],
    )  # fmt: skip


def mean(phase: str, at: int, value: float) -> Estimate:
    return Estimate(name="mean", term=f"{phase}.body.original_landmark_P{at}", value=value)


def test_means_of_landmarks_become_lines_that_a_protocol_accepts() -> None:
    found = [mean(phase, at, at + 1 / 3) for phase in ("t1", "t2") for at in LANDMARKS]
    scale = standard_scale(results([*found, Estimate(name="mean", term="age", value=50.0)]))
    assert scale["t2"] == tuple(at + 1 / 3 for at in LANDMARKS)
    told = as_tuples(tomllib.loads(as_toml(scale)))["preparation"]["intensity"]
    made = Preparation.model_validate(
        {"modality": "mr", "phases": ("t1", "t2"), "reference": "t2", "radiomics": {}, "intensity": told}
    )
    assert made.intensity.scale == "nyul" and made.intensity.landmarks["t1"][0] == 1.3333


def test_the_command_of_the_guide_prints_the_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = results([mean("t1", at, at + 1 / 3) for at in LANDMARKS])
    run = RunDirectory(tmp_path / "runs" / "landmarks")
    run.folder.mkdir(parents=True)
    write_results(found, run.results_file)
    said = Reader(tmp_path, monkeypatch).type_from("howto/prepare-images.md", "fedmvi-server landmarks")
    assert tomllib.loads(said.text) == tomllib.loads(as_toml(standard_scale(found)))


def test_a_phase_that_lacks_a_landmark_is_named() -> None:
    whole = [mean("t1", at, float(at)) for at in LANDMARKS]
    with pytest.raises(FedmviError, match="707") as refused:
        standard_scale(results([*whole, mean("t2", 50, 40.0)]))
    assert refused.value.local == "t2"
    with pytest.raises(FedmviError, match="707"):
        standard_scale(results([]))

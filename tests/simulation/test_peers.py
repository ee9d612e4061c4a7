"""simulation: the comparison with established tools: the same rows for all, and a peer that is absent is said to be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from simulation.benchmarks.peers import measuring
from simulation.benchmarks.peers.contenders import CONTENDERS, Contender, Fit
from simulation.benchmarks.peers.environments import UnavailableError, environment
from simulation.benchmarks.peers.rows import Rows, heart_rows
from simulation.cli import app
from tests.public_data import public


@pytest.fixture(autouse=True)
def _data() -> None:
    public("heart_disease_4centres")


def test_all_are_given_the_complete_cases_of_four_centres_standardised_by_the_pooled_rows(tmp_path: Path) -> None:
    rows = heart_rows()
    x, y = rows.pooled
    assert {site: len(ys) for site, (_, ys) in rows.sites.items()} == {
        "cleveland": 303, "hungarian": 293, "switzerland": 117, "va": 140,
    }  # fmt: skip
    assert np.abs(x.mean(axis=0)).max() < 1e-12 and np.abs(x.std(axis=0) - 1).max() < 1e-12
    assert set(np.unique(y)) == {0.0, 1.0}
    rows.write(tmp_path)
    with np.load(tmp_path / "va.npz", allow_pickle=False) as written:
        assert np.array_equal(written["x"], rows.sites["va"][0])


def test_ours_is_the_pooled_fit_and_a_ridge_penalty_is_seen() -> None:
    """The whole way: an import, Flower's simulation, the results file; back to standardised predictors."""
    chosen = {one.name: one for one in CONTENDERS}
    asked = [chosen[name] for name in ("statsmodels, pooled", "FedMVI", "scikit-learn, pooled")]
    reference, ours, ridge = measuring.compare(Path(), lambda _: None, asked)
    assert reference.apart == 0.0
    assert ours.apart is not None and ours.apart < 1e-9, ours.skipped
    assert ours.fit is not None and ours.fit.message_bytes and ours.fit.rounds
    assert ridge.apart is not None and 1e-3 < ridge.apart < 0.1


def test_a_peer_that_cannot_be_installed_is_skipped_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(rows: Rows, work: Path, cache: Path) -> Fit:
        environment(cache / "peer", "./there-is-no-such-package")
        raise AssertionError

    here = Contender("here", "", lambda rows, *_: Fit(np.zeros(rows.mean.size + 1), None, 0.1, "here 1"))
    monkeypatch.setattr(measuring.compare, "__defaults__", ((here, Contender("peer", "", absent)),))
    with pytest.raises(UnavailableError):
        environment(tmp_path / "peer", "./there-is-no-such-package")
    found = CliRunner().invoke(app, ["benchmark", "peers", "--environments", str(tmp_path), "--json"])
    assert found.exit_code == 0, found.output
    first, second = json.loads(found.stdout)["rows"]
    assert first["distance"] == 0.0 and first["skipped"] == ""
    assert "there-is-no-such-package" in second["skipped"]
    assert "distance" not in second

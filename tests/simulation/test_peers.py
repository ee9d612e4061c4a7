"""simulation: the comparison with established tools: the same rows for all, and a peer that is absent is said to be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from common.errors import FedmviError
from common.federation.envelope import Ticket
from common.federation.ports import InProcess, SitesPort, ungated
from common.federation.runner import conclude
from common.published.results import read_results
from server.study.execution import Action
from simulation.benchmarks.peers import field, measuring, ours
from simulation.benchmarks.peers.alone import conclusion, site_view
from simulation.benchmarks.peers.contenders import ENVIRONMENTS, Contender, Fit, at_events, installed_by
from simulation.benchmarks.peers.environments import MARKER, UnavailableError, environment
from simulation.benchmarks.peers.field import CONTENDERS
from simulation.benchmarks.peers.ours import STEPS
from simulation.benchmarks.peers.programs import pooled_job
from simulation.benchmarks.peers.question import Question
from simulation.benchmarks.peers.rows import Rows, asaur_rows, heart_rows, rows_of
from simulation.cli import app
from simulation.exactness.measuring import public_data
from simulation.importers.asaur import import_asaur
from simulation.running import Simulation
from simulation.views import COHORT, named_masks
from tests.public_data import public


@pytest.fixture(autouse=True)
def _data() -> None:
    public("heart_disease_4centres")
    public("hcc_resection_asaur")


def _answers(value: float, name: str = "here") -> Contender:
    found = lambda rows, *_: Fit(np.full(rows.mean.size, value), None, 0.1, "command", f"{name} 1")  # noqa: E731
    return Contender(name, "", Question.HAZARDS, "nothing", found)


def _absent(name: str = "absent") -> Contender:
    def absent(rows: Rows, work: Path, cache: Path) -> Fit:
        environment(cache / "peer", ["./there-is-no-such-package"])
        raise AssertionError

    return Contender(name, "", Question.HAZARDS, "nothing", absent)


def test_all_are_given_the_complete_cases_of_four_centres_standardised_by_the_pooled_rows(tmp_path: Path) -> None:
    rows = heart_rows()
    x, y = rows.pooled("x"), rows.pooled("y")
    assert {site: len(arrays["y"]) for site, arrays in rows.sites.items()} == {
        "cleveland": 303, "hungarian": 293, "switzerland": 117, "va": 140,
    }  # fmt: skip
    assert np.abs(x.mean(axis=0)).max() < 1e-12 and np.abs(x.std(axis=0) - 1).max() < 1e-12
    assert set(np.unique(y)) == {0.0, 1.0}
    rows.write(tmp_path)
    with np.load(tmp_path / "va.npz", allow_pickle=False) as written:
        assert np.array_equal(written["x"], rows.sites["va"]["x"])


def test_survival_is_that_of_the_four_blocks_by_whole_months() -> None:
    rows = asaur_rows()
    assert {site: len(arrays["x"]) for site, arrays in rows.sites.items()} == {
        "block-1": 75, "block-2": 60, "block-3": 50, "block-4": 42,
    }  # fmt: skip
    time = rows.pooled("time")
    assert np.array_equal(time, np.round(time)) and rows.pooled("event").sum() == 97
    assert at_events(rows, {"times": [0.0, 3.0], "survival": [1.0, 0.5]})[:3].tolist() == [1.0, 0.5, 0.5]


@pytest.mark.parametrize(("question", "statistic"), [
    (Question.LOGISTIC, "statsmodels"), (Question.CURVE, "lifelines-curve"), (Question.HAZARDS, "lifelines-cox"),
])  # fmt: skip
def test_our_statistic_alone_is_the_pooled_one(question: Question, statistic: str) -> None:
    rows = rows_of(question)
    pooled = {name: rows.pooled(name) for name in next(iter(rows.sites.values()))}
    reference = pooled_job.FITS[statistic](pooled)
    names = tuple(rows.sites)
    views = {site: ungated(site_view(dict(arrays)), named_masks(site, names)) for site, arrays in rows.sites.items()}
    port = SitesPort(InProcess(views), Ticket("alone", "", {COHORT: names}))
    months = int(pooled["time"].max()) if "time" in pooled else 0
    (found,) = conclude(port, [conclusion(question, rows.mean.size, months + 1)])
    if question is Question.CURVE:
        told, theirs = at_events(rows, found), at_events(rows, reference)
    else:
        told, theirs = np.array(found["coefficients"]), np.array(reference["coefficients"])
    assert told.shape == theirs.shape and np.abs(told - theirs).max() < 1e-9


def test_ours_over_flower_is_the_pooled_fit_and_tells_where_its_seconds_went() -> None:
    """The whole way: an import, Flower's simulation, the results file; back to standardised predictors."""
    chosen = {(one.question, one.name): one for one in CONTENDERS}
    names = ("statsmodels, pooled", "FedMVI, a whole study", "FedMVI, alone", "scikit-learn, pooled")
    asked = [chosen[Question.LOGISTIC, name] for name in names]
    reference, study, alone, ridge = measuring.compare(Path(), lambda _: None, asked)
    assert reference.apart == 0.0 and reference.fit is not None and "--of statsmodels" in reference.fit.command
    for row in (study, alone):
        assert row.fit is not None and row.apart is not None, row.skipped
        assert row.apart < 1e-9 and row.fit.message_bytes and row.fit.rounds
    assert study.fit is not None and study.fit.command.startswith("fedmvi-simulate run")
    assert list(study.fit.parts) == ["start the program", *STEPS]
    assert abs(sum(study.fit.parts.values()) - study.fit.seconds) < 1e-6
    assert ridge.apart is not None and 1e-3 < ridge.apart < 0.1


def test_the_survival_study_gives_the_pooled_hazards(tmp_path: Path) -> None:
    """Without Flower: that the study and the import ask what the others are asked."""
    import_asaur(public_data("hcc_resection_asaur"), tmp_path / "sites")
    study = Path(ours.__file__).with_name("survival.toml")
    simulation = Simulation.of(study, tmp_path / "sites", tmp_path / "run", in_process=True)
    simulation.conduct(Action.RUN, lambda _: None)
    rows = asaur_rows()
    found = ours.hazards_of(read_results(simulation.run.results_file), rows)
    pooled = {name: rows.pooled(name) for name in ("x", "time", "event")}
    assert np.abs(found - pooled_job.FITS["lifelines-cox"](pooled)["coefficients"]).max() < 1e-9


def test_a_peer_that_cannot_be_installed_is_skipped_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field, "CONTENDERS", (_answers(0.0), _absent()))
    found = CliRunner().invoke(app, ["benchmark", "peers", "--environments", str(tmp_path), "--json"])
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert told["complete"] and told["versions"].keys() >= {"fedmvi", "python", "flwr"}
    assert told["installed"]["flare"].startswith("flare/bin/python -m pip install nvflare==")
    first, second = told["rows"]
    assert first["distance"] == 0.0 and first["skipped"] == "" and first["command"] == "command"
    assert "there-is-no-such-package" in second["skipped"]
    assert "distance" not in second


def test_the_page_has_what_is_installed() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "comparison.md").read_text(encoding="utf-8")
    assert all(installed_by(name) in page for name in ENVIRONMENTS)


@pytest.mark.parametrize("stop", [ValueError("a peer writes something else now"), KeyboardInterrupt()])
def test_what_was_measured_before_a_failure_is_printed_and_only_what_is_asked_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    """Half an hour may lie before it."""

    def fails(*_: object) -> Fit:
        raise stop

    unasked = replace(_answers(1.0), question=Question.CURVE)
    monkeypatch.setattr(field, "CONTENDERS", (unasked, _answers(0.0), replace(_answers(0.0), fit=fails)))
    command = ["benchmark", "peers", "--environments", str(tmp_path), "--question", "Cox regression", "--json"]
    found = CliRunner().invoke(app, command)
    assert found.exit_code != 0
    told = json.loads(found.stdout)
    assert [row["question"] for row in told["rows"]] == ["Cox regression"] and not told["complete"]


def test_without_its_reference_nobody_has_a_distance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("venv.create", lambda *_, **__: None)
    skipped, other = measuring.compare(tmp_path, lambda _: None, [_absent(), _answers(1.0)])
    assert skipped.skipped and other.fit is not None
    assert other.apart is None and other.as_json()["distance"] is None


@pytest.mark.parametrize("name", sorted(ENVIRONMENTS))
def test_a_folder_that_holds_something_else_is_refused_before_anything_is_run(name: str, tmp_path: Path) -> None:
    """It was once emptied to make an environment of it."""
    theirs = tmp_path / name / "thesis.txt"
    theirs.parent.mkdir()
    theirs.write_text("years of work", encoding="utf-8")
    with pytest.raises(FedmviError) as refused:
        list(measuring.compare(tmp_path, lambda _: pytest.fail("something ran"), CONTENDERS))
    assert refused.value.number == 213
    with pytest.raises(FedmviError):
        environment(theirs.parent, ["pip"])
    assert theirs.read_text(encoding="utf-8") == "years of work"


def test_an_environment_of_ours_that_was_cut_short_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("venv.create", lambda *_, **__: None)  # and so there is no pip to be run
    with pytest.raises(UnavailableError):
        environment(tmp_path / "peer", ["pip"])
    assert (tmp_path / "peer" / MARKER).is_file()
    (tmp_path / "peer" / "rest").touch()
    with pytest.raises(UnavailableError):
        environment(tmp_path / "peer", ["pip"])
    assert not (tmp_path / "peer" / "rest").exists()

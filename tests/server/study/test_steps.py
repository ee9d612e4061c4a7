"""server/study: the steps that a study is said to have are those that it takes, in as many rounds as is said."""

from __future__ import annotations

from pathlib import Path

from common.study.loader import load_study
from server.study.action import Action
from server.study.progress import Progress, read_progress
from server.study.run_directory import RunDirectory
from server.study.steps import Step, steps_of
from simulation.network.example import make_example_hospitals, write_example_study
from simulation.running import Simulation


def check_steps(run: RunDirectory, told: list[str]) -> list[Step]:
    """Hold a run that is over against the steps of its study; the steps."""
    steps = steps_of(run.study())
    words = [step.words for step in steps]
    taken = read_progress(run.progress_file)
    assert isinstance(taken, Progress)
    assert [one for one in told if one in words] == words, "in this order, and none is missing"
    assert set(taken.steps) <= set(words)
    assert sum(step.rounds for step in taken.steps.values()) == taken.rounds
    for step in steps:
        asked = taken.steps[step.words].rounds if step.words in taken.steps else 0
        assert step.least <= asked <= (taken.rounds if step.most is None else step.most), (step, asked)
    return steps


def test_a_study_takes_the_steps_that_it_is_said_to_take(tmp_path: Path) -> None:
    make_example_hospitals(tmp_path / "sites")
    study = write_example_study(tmp_path / "study.toml", "study", models=True)
    simulation = Simulation.of(study, tmp_path / "sites", tmp_path / "run", in_process=True)
    told: list[str] = []
    simulation.conduct(Action.RUN, told.append)
    steps = check_steps(simulation.run, told)
    assert not any(step.network for step in steps)
    unknown = [step.words for step in steps if step.most is None]
    assert unknown == ["fit the models", "evaluate the models and compare survival"]


def test_a_network_of_the_published_development_is_trained_once() -> None:
    shipped = Path(__file__).parents[3] / "studies" / "mri-deep-learning.toml"
    study = load_study(shipped)
    for network in study.networks:
        mine = [step for step in steps_of(study) if step.network == network.name]
        assert len(mine) == (1 if network.development == "published" else 2)

"""disclosure: attacks on single patients by way of a network's weights, rounds, images and runs, and their ends."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from client.answering import answer_message
from client.cohort.site import load_site
from client.cohort.store import store_folder
from common.errors import FedmviError
from common.federation.envelope import write_envelope
from common.federation.learning import LARGEST_CHANGE, LARGEST_LOSS, LARGEST_WEIGHT, WHOLE, Job, Member
from common.federation.query import Ask, each, perform, total
from common.federation.tasks import Freeze
from common.statistics.grades import GradeTable
from common.study.fingerprint import digest
from common.study.loader import parse_study
from common.study.recipe import Complete, Made, Recipe
from tests.disclosure.consortium import Consortium
from tests.disclosure.networks import (
    BARE_STUDY,
    JOB,
    NETWORK_STUDY,
    ONE,
    POLICY,
    SITES,
    anew,
    loss_of,
    make_networks,
    message,
    round_of,
    scoring,
    set_policy,
    update_of,
    weights,
)

Weights = NDArray[np.float32]
EVERYBODY = Job("net", ONE, 0, WHOLE)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masked sites that have opened a run."""
    folder = tmp_path_factory.mktemp("attacked") / "sites"
    make_networks(folder).sign().open(*SITES)
    return folder


@pytest.fixture
def made(template: Path, tmp_path: Path) -> Consortium:
    shutil.copytree(template, tmp_path / "sites")
    return Consortium({name: tmp_path / "sites" / name for name in SITES}, parse_study(NETWORK_STUDY))


def errors(made: Consortium, *asks: Ask, site: str = "a") -> list[int]:
    return [answer.error for answer in made.put(site, *asks)]


def opened_again(made: Consortium, run: str) -> Consortium:
    return made.with_ticket(run_id=run).sign().open(*SITES)


# ------------------------------------------------------------- no refusal and no digit depends on one patient's images


def constant(weights: Weights, *biases: float) -> Weights:
    """Weights whose logits are these numbers for everybody."""
    told = weights.copy()
    told[-130:] = 0.0
    told[-2:] = biases
    return told


def test_a_loss_however_large_is_a_bounded_part_of_the_sum(made: Consortium) -> None:
    sure = constant(weights(made.study), LARGEST_WEIGHT, -LARGEST_WEIGHT)
    task = perform(round_of(made.study, job=EVERYBODY, weights=sure))
    _, sums = made.port().ask([task, total(loss_of(task))])
    assert not isinstance(sums, FedmviError)
    positives = sum(int(made.table(site).endpoints["mvi"].sum()) for site in "abc")
    assert float(sums["training_loss"]) == pytest.approx(LARGEST_LOSS * positives)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [2e4, 1e19, 3e38])
def test_weights_that_overflow_for_some_images_are_refused_before_an_image_is_read(
    made: Consortium, size: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("client.view.GatedView._learners", pytest.fail)
    large = weights(made.study)
    large[5] = size
    assert made.number("a", perform(round_of(made.study, weights=large))) == 414
    honest = scoring(made.study)
    bad = replace(honest, members=(replace(honest.members[0], weights=large), *honest.members[1:]))
    assert made.number("a", perform(bad)) == 414


def test_what_a_diverged_training_leaves_are_bounded_numbers_at_every_site(template: Path, tmp_path: Path) -> None:
    wild = 'optimiser = "sgd"\nlearning_rate = 1e30\nclip_norm = false\nbatch = 8'
    text = NETWORK_STUDY.replace("batch = 8", wild).replace("rounds = 5", 'rounds = 5\nstrategy = "scaffold"')
    made = anew(template, tmp_path / "wild", text, masked=True).sign().open(*SITES)
    none = np.zeros(weights(made.study).size, np.float32)
    task = perform(round_of(made.study, variate=none))
    sums = made.port().ask([task, total(loss_of(task)), total(update_of(task, variates=True))])[2]
    assert not isinstance(sums, FedmviError)
    assert all(np.abs(sums[name]).max() <= 3 * LARGEST_CHANGE for name in ("update", "variate"))  # type: ignore[arg-type]
    later = perform(round_of(made.study, 1, task.digest, variate=none))
    assert errors(made, later, total(loss_of(later)), total(update_of(later, variates=True))) == [0, 0, 0]


# ----------------------------------------------------------------------------------- images are part of a patient's row


def change_stack(folder: Path, made: Consortium, change: Callable[[Path], None]) -> None:
    """Change, or remove, the stacks of one patient, and sign the store as preparation does."""
    store = store_folder(load_site(folder), made.study)
    manifest = json.loads((store / "prepared.json").read_text(encoding="utf-8"))
    patient = min(key.split("/")[1] for key in manifest["files"] if key.startswith("stacks/"))
    change(store / "stacks" / patient)
    mine = [key for key in manifest["files"] if key.startswith(f"stacks/{patient}/")]
    for key in mine:
        del manifest["files"][key]
        if (store / key).exists():
            manifest["files"][key] = digest((store / key).read_bytes())
    manifest["images"]["content"] = digest("other")
    (store / "prepared.json").write_text(json.dumps(manifest), encoding="utf-8")


def _turned(patient: Path) -> None:
    for path in patient.glob("*/pixels.npy"):
        buffer = io.BytesIO()
        np.save(buffer, np.load(path)[:, ::-1].copy())
        path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize("change", [_turned, shutil.rmtree])
def test_two_runs_that_differ_by_one_patient_s_images_do_not_both_answer(
    made: Consortium, change: Callable[[Path], None]
) -> None:
    first = message(round_of(made.study))
    assert errors(made, *first) == [0, 0, 0]
    change_stack(made.folders["a"], made, change)
    again = opened_again(made, "run2")
    assert errors(again, *first) == [0, 420, 420]
    assert errors(again, *first, site="b") == [0, 0, 0]


# ---------------------------------------------------------------------------------------------- rounds, order, accounts


def test_nothing_is_measured_but_after_the_last_round_and_nothing_at_all_where_nothing_may_be_trained(
    made: Consortium,
) -> None:
    for number in range(6):
        task = round_of(made.study, number, "" if number == 0 else "0" * 64, train=False)
        assert made.number("a", perform(task)) in (414, 511)
    set_policy(made.folders["a"], f"{POLICY}max_rounds = 0\n")
    assert errors(made, *message(round_of(made.study)))[0] == 424


def test_after_the_last_round_its_weights_are_measured_once(template: Path, tmp_path: Path) -> None:
    text = NETWORK_STUDY.replace("rounds = 5", "rounds = 1")
    made = anew(template, tmp_path / "one", text, masked=True).sign().open(*SITES)
    set_policy(made.folders["a"], f"{POLICY}max_rounds = 1\n")
    first = perform(round_of(made.study))
    assert errors(made, first) == [0]
    last = perform(round_of(made.study, 1, first.digest, train=False))
    assert errors(made, last, total(loss_of(last))) == [0, 0]
    other = round_of(made.study, 1, first.digest, train=False, weights=-weights(made.study))
    assert errors(made, perform(other)) == [414]


def test_rounds_come_one_after_the_other_one_of_a_job_in_a_message(made: Consortium) -> None:
    s, first = made.study, perform(round_of(made.study))
    assert made.number("a", perform(round_of(s, 4))) == 414
    second = perform(round_of(s, 1, first.digest))
    assert errors(made, first, second) == [0, 414]
    assert errors(made, second) == [0]
    assert made.number("a", perform(round_of(s, 3, second.digest))) == 414
    assert made.number("a", perform(round_of(s, 2, first.digest))) == 414
    assert made.number("a", perform(round_of(s, 2, ""))) == 414


def test_a_message_has_no_more_trainings_than_share_a_round(template: Path, tmp_path: Path) -> None:
    text = NETWORK_STUDY.replace("rounds = 5", "rounds = 5\nlock_step = 2")
    made = anew(template, tmp_path / "few", text, masked=True).sign().open(*SITES)
    jobs = [perform(round_of(made.study, job=replace(JOB, fold=fold))) for fold in range(3)]
    assert errors(made, *jobs) == [0, 0, 414]
    assert errors(made, *jobs) == [0, 0, 0], "what is done is no training any more"


def test_of_a_message_only_the_question_whose_answer_is_gone_is_refused(made: Consortium) -> None:
    asks: list[tuple[Ask, ...]] = []
    for number in range(3):
        asks.append(message(round_of(made.study, number, asks[-1][0].digest if asks else "")))
        assert errors(made, *asks[-1]) == [0, 0, 0]
    assert errors(made, asks[0][1], asks[2][1]) == [413, 0]


def test_runs_of_a_study_share_one_account_of_bytes(made: Consortium) -> None:
    set_policy(made.folders["a"], f"{POLICY}max_update_bytes = {12 * weights(made.study).size}\n")
    first = message(round_of(made.study))
    assert errors(made, *first) == [0, 0, 0]
    again = opened_again(made, "run2")
    assert errors(again, *first) == [0, 424, 0]


def test_without_room_on_the_disk_nothing_is_kept(made: Consortium, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    with monkeypatch.context() as patched:
        patched.setattr("client.learning.work.shutil.disk_usage", lambda _: usage._replace(free=1 << 20))
        assert errors(made, perform(round_of(made.study))) == [394]
    assert errors(made, perform(round_of(made.study))) == [0]


def test_a_task_for_a_cohort_that_nobody_knows_is_refused_as_such(made: Consortium) -> None:
    task = perform(round_of(made.study, cohort="nope"))
    reply = answer_message(made.folders["a"], write_envelope(made.ticket, [task]))
    assert '"error":412' in reply.text


# --------------------------------------------------------------------------------------------------- one site by itself


def test_where_a_site_answers_alone_one_model_of_a_network_is_asked_about(made: Consortium) -> None:
    set_policy(made.folders["d"], f"{POLICY}release_alone = true\n")
    nudged = weights(made.study)
    nudged[-1] += np.float32(0.01)
    tasks = [
        scoring(made.study, "external", seed=seed, members=(Member(WHOLE, w),))
        for seed, w in enumerate((weights(made.study), nudged))
    ]
    assert made.number("d", perform(Freeze(tuple(task.model for task in tasks), ()))) == 0
    assert errors(made, *map(perform, tasks), site="d") == [0, 0]

    def table(model: str) -> Ask:
        recipe = Recipe((Made(model, "net", ("mean",)), Complete(("net.mean",), ("mvi",))))
        return each(GradeTable("external", recipe, ("net.mean",), "mvi", 2, np.array([[0.5]]), 5, guarded=True))

    numbers = [made.number("d", table(task.model)) for task in tasks]
    assert numbers[0] == 0
    assert numbers[1] == 414, "the difference of two such tables would be a patient"


def test_without_masks_no_fold_is_smaller_than_a_cell(template: Path, tmp_path: Path) -> None:
    bare = anew(template, tmp_path / "bare", BARE_STUDY, masked=False).open(*SITES)
    assert errors(bare, perform(round_of(bare.study))) == [0]
    for site in SITES:
        set_policy(bare.folders[site], POLICY.replace("min_cell = 3", "min_cell = 6"), masked=False)
    assert errors(bare, perform(round_of(bare.study, job=EVERYBODY))) == [403]
    assert errors(bare, perform(scoring(bare.study))) == [403]

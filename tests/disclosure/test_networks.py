"""disclosure: what a server may try with the tasks and model questions of networks, and what the sites answer."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client.answering import answer_message
from client.cohort.site import load_site
from client.forgetting import forget
from client.learning.workbench import roles
from client.release.ledger import Ledger
from common.federation.codec import Packed
from common.federation.envelope import write_envelope
from common.federation.learning import WHOLE, ExplainPatients, Job, Member, Part
from common.federation.query import Ask, each, perform, total
from common.federation.tasks import Freeze
from common.statistics.confusion import ThresholdCounts
from common.statistics.logistic import LogisticSums
from common.statistics.refinement import root_question
from common.statistics.roc import RocAlone
from common.study.recipe import Complete, Impute, Made, Recipe
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


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masked sites that have opened a run."""
    folder = tmp_path_factory.mktemp("networks") / "sites"
    consortium = make_networks(folder)
    consortium.sign().open(*SITES)
    return folder


@pytest.fixture(scope="module")
def first_round(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same sites after site a trained a round, and nothing else."""
    folder = tmp_path_factory.mktemp("trained") / "sites"
    shutil.copytree(template, folder)
    made = consortium_of(folder)
    assert [answer.error for answer in made.put("a", *message(round_of(made.study)))] == [0, 0, 0]
    return folder


def consortium_of(folder: Path) -> Consortium:
    from common.study.loader import parse_study

    return Consortium({name: folder / name for name in SITES}, parse_study(NETWORK_STUDY))


@pytest.fixture
def made(template: Path, tmp_path: Path) -> Consortium:
    shutil.copytree(template, tmp_path / "sites")
    return consortium_of(tmp_path / "sites")


@pytest.fixture
def trained(first_round: Path, tmp_path: Path) -> Consortium:
    shutil.copytree(first_round, tmp_path / "sites")
    return consortium_of(tmp_path / "sites")


def lines(made: Consortium, site: str = "a") -> list[dict[str, object]]:
    return list(Ledger(made.folders[site] / "store" / "ledger.jsonl").entries())


def test_a_round_is_answered_recorded_in_words_and_its_task_only_confirms(made: Consortium) -> None:
    asks = message(round_of(made.study))
    receipt, update, loss = made.put("a", *asks)
    assert receipt.receipt == {"work": asks[0].digest}
    assert update.blocks["update"].dtype == np.uint64
    assert [line["words"] for line in lines(made)[-3:]] == [asks[i].question.words() for i in range(3)]
    p = weights(made.study).size
    assert 8 * p < lines(made)[-2]["bytes"] < 8 * p + 200
    assert set(loss.blocks) == {"training_loss", "validation_loss", "training_patients", "validation_patients"}


def _attacks() -> dict[str, object]:
    none = np.empty(0, dtype=np.float32)
    return {
        "a network that the study does not have": lambda s: round_of(s, job=replace(JOB, network="other")),
        "sequences that are not compared": lambda s: round_of(s, job=replace(JOB, combination=("t1",))),
        "a seed too many": lambda s: round_of(s, job=replace(JOB, seed=2)),
        "a fold that is none": lambda s: round_of(s, job=replace(JOB, fold=5)),
        "a negative fold that is not everybody": lambda s: round_of(s, job=replace(JOB, fold=-2)),
        "a round too many": lambda s: round_of(s, 5),
        "weights that are too long": lambda s: round_of(s, weights=np.zeros(weights(s).size + 1, np.float32)),
        "weights of other sequences": lambda s: round_of(s, weights=weights(s, ("t1", "t1v"))),
        "no weights": lambda s: round_of(s, weights=none),
        "variates without SCAFFOLD": lambda s: round_of(s, variate=weights(s)),
        "one class only": lambda s: round_of(s, class_weights=(1.0, 0.0)),
        "a class too many": lambda s: round_of(s, class_weights=(1.0, 1.0, 1.0)),
        "a class that outweighs all": lambda s: round_of(s, class_weights=(1.0, 1e9)),
        "another cohort": lambda s: round_of(s, cohort="external"),
    }


@pytest.mark.parametrize("what", _attacks())
def test_a_training_that_the_study_does_not_declare_is_refused(trained: Consortium, what: str) -> None:
    task = _attacks()[what](trained.study)  # type: ignore[operator]
    site = "d" if task.cohort == "external" else "a"
    assert trained.number(site, perform(task)) == 414


def test_numbers_that_are_not_finite_never_reach_a_network(made: Consortium) -> None:
    written = write_envelope(made.ticket, [perform(round_of(made.study))])
    for bad in (np.nan, np.inf):
        arrays = tuple(np.where(np.arange(a.size) == 3, np.float32(bad), a) for a in written.arrays)
        reply = answer_message(made.folders["a"], Packed(written.text, arrays))
        assert '"error":501' in reply.text
    with pytest.raises(Exception, match="501"):
        write_envelope(made.ticket, [perform(round_of(made.study, round=-1))])


def test_a_round_has_one_set_of_weights_and_a_run_one_weighting_of_the_classes(trained: Consortium) -> None:
    other = weights(trained.study) + np.float32(1e-3)
    assert trained.number("a", perform(round_of(trained.study, weights=other))) == 414
    assert trained.number("a", perform(round_of(trained.study, train=False))) == 414
    later = round_of(trained.study, 1, class_weights=(1.0, 1.0))
    assert trained.number("a", perform(later)) == 414


def test_a_round_goes_on_from_an_earlier_one_of_the_same_job_only(trained: Consortium) -> None:
    s, begun = trained.study, perform(round_of(trained.study)).digest
    assert trained.number("a", perform(round_of(s, 1, before="0" * 64))) == 511
    assert trained.number("a", perform(round_of(s, 1, before="../../../site"))) == 511
    assert trained.number("a", perform(round_of(s, 1, before=begun, job=replace(JOB, seed=1)))) == 414
    assert trained.number("a", perform(round_of(s, 0, before=begun, job=JOB, weights=weights(s)))) == 414
    assert trained.number("a", perform(round_of(s, 1, keep=begun, job=replace(JOB, fold=2)))) == 414
    assert trained.number("a", perform(round_of(s, 1, before=begun))) == 0


def test_an_update_is_told_of_the_work_that_it_names_and_of_no_other(trained: Consortium) -> None:
    task = perform(round_of(trained.study))
    size = weights(trained.study).size
    for changes, number in (
        ({"task": "f" * 64}, 511),
        ({"task": "../" * 3}, 511),
        ({"round": 1}, 414),
        ({"job": replace(JOB, seed=1)}, 414),
        ({"job": replace(JOB, fold=WHOLE)}, 414),
        ({"size": size - 1}, 414),
        ({"size": 1 << 40}, 414),
        ({"variates": True}, 414),
        ({"cohort": "external"}, 412),
        ({"recipe": Recipe((Complete((), ("mvi",)),))}, 414),
    ):
        assert trained.number("a", total(update_of(task, **changes))) == number, changes


def test_work_of_another_run_is_not_there(trained: Consortium) -> None:
    other = trained.with_ticket(run_id="run2").sign().open(*SITES)
    task = perform(round_of(trained.study))
    assert other.number("a", total(update_of(task))) == 511
    assert other.number("a", perform(round_of(trained.study, 1, before=task.digest))) == 511


def test_one_sites_update_does_not_leave_alone(trained: Consortium) -> None:
    task = perform(round_of(trained.study))
    assert trained.number("a", each(update_of(task))) == 414
    assert trained.number("a", each(loss_of(task))) == 414


def test_trimmed_means_are_refused_under_masks_and_without_release_alone(template: Path, tmp_path: Path) -> None:
    text = BARE_STUDY.replace("rounds = 5", 'rounds = 5\nstrategy = "trimmed-mean"\ntrim = 0.34')
    made = anew(template, tmp_path / "masked", text, masked=True).sign().open(*SITES)
    assert made.number("a", perform(round_of(made.study))) == 423
    bare = anew(template, tmp_path / "bare", text, masked=False).open(*SITES)
    assert bare.number("a", perform(round_of(bare.study))) == 408
    set_policy(bare.folders["a"], f"{POLICY}release_alone = true\n", masked=False)
    task = perform(round_of(bare.study))
    answers = bare.put("a", task, each(update_of(task)))
    assert [answer.error for answer in answers] == [0, 0]
    assert answers[1].blocks["update"].dtype == np.float32


def test_the_policy_bounds_kinds_rounds_and_bytes(made: Consortium) -> None:
    task, update, _ = message(round_of(made.study))
    folder = made.folders["a"]
    for policy in ('risks = ["SUM", "CELLS"]\n', 'refused_queries = ["task.train-round"]\n'):
        set_policy(folder, POLICY + policy)
        assert made.number("a", task) == 402
    set_policy(folder, f"{POLICY}max_rounds = 1\n")
    assert made.number("a", task) == 0
    assert made.number("a", perform(round_of(made.study, 1, before=task.digest))) == 424
    most = 8 * weights(made.study).size + 100
    set_policy(folder, f"{POLICY}max_update_bytes = {most}\n")
    assert made.number("a", update) == 0
    later = message(round_of(made.study, 1, before=task.digest))
    assert [answer.error for answer in made.put("a", *later)] == [0, 424, 0]
    assert [answer.error for answer in made.put("a", task, update)] == [0, 0], "a repeat costs nothing"


def test_a_site_with_few_patients_does_not_train(made: Consortium) -> None:
    set_policy(made.folders["a"], f"{POLICY}min_patients = 25\n")
    assert made.number("a", perform(round_of(made.study))) == 403
    # Of 24 patients each of the two classes has 12.
    set_policy(made.folders["a"], POLICY.replace("min_class = 3", "min_class = 13"))
    assert made.number("a", perform(round_of(made.study))) == 405


def test_only_masks_let_a_fold_leave_fewer_of_a_class_than_the_limit(
    made: Consortium, template: Path, tmp_path: Path
) -> None:
    policy = POLICY.replace("min_class = 3", "min_class = 10")
    set_policy(made.folders["a"], policy)
    assert made.number("a", perform(round_of(made.study))) == 0
    bare = anew(template, tmp_path / "bare", BARE_STUDY, masked=False, policy=policy).open(*SITES)
    assert bare.number("a", perform(round_of(bare.study))) == 405


# -------------------------------------------------------------------------------------------------------- scores


def frame_recipe(model: str) -> Recipe:
    return Recipe((Made(model, "net", ("mean", "first", "mean.grade")), Complete(("net.mean",), ("mvi",))))


def counts(model: str, cohort: str = "train", *columns: str) -> Ask:
    used = columns or ("net.mean",)
    return total(ThresholdCounts(cohort, frame_recipe(model), used, "mvi", np.full((len(used), 1), 0.5)))


def test_scores_stay_and_questions_on_them_are_answered(made: Consortium) -> None:
    task = scoring(made.study)
    (receipt,) = made.put("a", perform(task))
    assert set(receipt.receipt) == {"work"}
    assert made.number("a", counts(task.model)) == 0
    assert (
        made.number("a", total(root_question("train", frame_recipe(task.model), ("net.mean", "net.first"), "mvi"))) == 0
    )
    assert (
        made.number("a", total(LogisticSums("train", frame_recipe(task.model), "mvi", ("net.mean",), np.zeros(2)))) == 0
    )


def test_a_model_that_did_not_score_has_no_columns(made: Consortium) -> None:
    assert made.number("a", counts("0" * 64)) == 511
    assert made.number("a", counts("../x")) == 511


def test_training_patients_are_scored_once_each_out_of_fold_and_never_as_a_whole(made: Consortium) -> None:
    s, honest = made.study, scoring(made.study).members
    for who in (
        (Member(WHOLE, weights(s)),),
        honest[:4],
        (*honest[:4], replace(honest[4], fold=3)),
        (*honest, honest[0]),
        (*honest[:4], replace(honest[4], fold=5)),
    ):
        assert made.number("a", perform(scoring(s, members=who))) == 414
    assert made.number("d", perform(scoring(s, "external", members=honest))) == 414


def test_in_an_open_cohort_one_model_scores_once_a_run(made: Consortium) -> None:
    task = scoring(made.study)
    assert made.number("a", perform(task)) == 0
    changed = tuple(replace(member, weights=member.weights + np.float32(0.01)) for member in task.members)
    assert made.number("a", perform(replace(task, members=changed))) == 414
    assert made.number("a", perform(replace(task, seed=1))) == 0, "each seed is a score of its own"


def test_in_a_closed_cohort_only_a_frozen_model_scores_and_its_scores_alone_are_seen(made: Consortium) -> None:
    task, other = scoring(made.study, "external"), scoring(made.study, "external", seed=1)

    def question(model: str) -> Ask:
        return each(RocAlone("external", frame_recipe(model), "mvi", "net.mean", 10, min_cell=5))

    set_policy(made.folders["d"], f"{POLICY}release_alone = true\n")
    assert made.number("d", perform(task)) == 407
    assert made.number("d", question(task.model)) == 407
    assert made.number("d", perform(Freeze((task.model,), ()))) == 0
    assert made.number("d", question(task.model)) == 511
    assert made.number("d", perform(task)) == 0
    assert made.number("d", perform(other)) == 407
    assert made.number("d", question(other.model)) == 407
    assert made.number("d", question(task.model)) == 0
    too_many = tuple(str(i) for i in range(6))
    assert made.number("a", perform(Freeze(too_many, ()))) == 414, "two combinations with two seeds, and a cut-off"


def test_pictures_are_made_once_a_network_and_only_a_receipt_leaves(made: Consortium) -> None:
    task = ExplainPatients("external", "net", ONE, 0, Member(WHOLE, weights(made.study)))
    assert made.number("d", perform(task)) == 407
    assert made.number("d", perform(Freeze((scoring(made.study, "external").model,), ()))) == 0
    (receipt,) = made.put("d", perform(task))
    assert receipt.receipt == {"work": perform(task).digest}
    assert list((made.folders["d"] / "store" / "work" / "run1" / perform(task).digest).glob("*.png"))
    other = replace(task, member=replace(task.member, weights=task.member.weights + np.float32(0.1)))
    assert made.number("d", perform(other)) == 407
    fold = replace(task, cohort="train", member=replace(task.member, fold=0))
    assert made.number("a", perform(replace(fold, member=task.member))) == 414, "training patients out of fold only"
    assert made.number("a", perform(fold)) == 0
    assert made.number("a", perform(replace(fold, member=replace(task.member, fold=1)))) == 414, "one fold's"


def test_a_score_s_state_is_that_of_a_training_without_the_scored_fold(trained: Consortium) -> None:
    local = perform(round_of(trained.study)).digest
    honest = scoring(trained.study).members
    wrong = (replace(honest[0], local=local), *honest[1:])
    assert trained.number("a", perform(scoring(trained.study, members=wrong))) == 414
    lost = (replace(honest[0], local="0" * 64), *honest[1:])
    assert trained.number("a", perform(scoring(trained.study, members=lost))) == 511


def test_folds_are_scored_by_one_mixture_of_models_a_run(made: Consortium) -> None:
    first = scoring(made.study)
    second = replace(first, seed=1)
    assert [answer.error for answer in made.put("a", perform(first), perform(second))] == [0, 0]

    def question(*models: str) -> Ask:
        step = Made(models[0], "net", ("mean",), models)
        return total(ThresholdCounts("train", Recipe((step,)), ("net.mean",), "mvi", np.array([[0.5]])))

    mixed = [first.model if fold else second.model for fold in range(5)]
    assert made.number("a", question(*mixed)) == 0
    assert made.number("a", question(*[first.model] * 5)) == 414, "the difference would be one fold's"
    assert made.number("a", question(*mixed[:4])) == 414


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe((Made("m", "other", ("mean",)),)),
        Recipe((Made("m", "net", ("second",)),)),
        Recipe((Made("m", "net", ("mean", "mean")),)),
        Recipe((Made("m", "net", ("mean",)), Made("n", "net", ("mean",)))),
        Recipe((Made("m", "net", ("mean",)), Impute(("net.mean",), (0.5,)))),
        Recipe((Complete((), ("mvi",)), Made("m", "net", ("mean",)))),
    ],
)
def test_scores_enter_a_frame_as_the_study_says_or_not_at_all(made: Consortium, recipe: Recipe) -> None:
    asked = total(ThresholdCounts("train", recipe, ("net.mean",), "mvi", np.array([[0.5]])))
    assert made.number("a", asked) == 414


# -------------------------------------------------------------------------------------- crashes, memory, forgetting


class Killed(BaseException):
    """The process ends here: nothing catches it."""


def test_killed_between_work_and_reply_a_site_answers_with_the_same_bytes(
    made: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks = message(round_of(made.study))

    def kill(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("client.release.replies.ReplyStore.put", kill)
        with pytest.raises(Killed):
            made.put("a", *asks)
    folder = made.folders["a"] / "store" / "work" / "run1" / asks[0].digest
    stamps = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    once, again = made.put("a", *asks), made.put("a", *asks)
    assert stamps == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}, "it was not trained again"
    for first, second in zip(once, again, strict=True):
        assert (first.error, first.receipt) == (second.error, second.receipt) == (0, first.receipt)
        assert all(np.array_equal(first.blocks[name], second.blocks[name]) for name in first.blocks)
    assert [answer.repeat for answer in again] == [True, True, True]


def test_killed_while_it_works_a_site_has_no_half_of_it(made: Consortium, monkeypatch: pytest.MonkeyPatch) -> None:
    task = perform(round_of(made.study))

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("client.learning.work.sync_folder", kill)
        patched.setattr(Path, "rename", kill)
        with pytest.raises(Killed):
            made.put("a", task)
    work = made.folders["a"] / "store" / "work" / "run1"
    assert not (work / task.digest).exists()
    assert made.number("a", task) == 0
    assert not list(work.glob(".*"))


def test_of_a_job_two_rounds_are_kept_and_what_belongs_to_the_best(made: Consortium) -> None:
    digests: list[str] = []
    asks: list[tuple[Ask, ...]] = []
    for number in range(4):
        before = digests[-1] if digests else ""
        task = round_of(made.study, number, before=before, keep=digests[0] if digests else "")
        asks.append(message(task))
        assert [answer.error for answer in made.put("a", *asks[-1])] == [0, 0, 0]
        digests.append(asks[-1][0].digest)
    work = made.folders["a"] / "store" / "work" / "run1"
    kept = {number: {path.stem for path in (work / digests[number]).iterdir()} for number in range(4)}
    assert kept == {
        0: {"facts", "local"}, 1: {"facts"}, 2: {"facts", "local", "arrays"}, 3: {"facts", "local", "arrays"}
    }  # fmt: skip
    replies = made.folders["a"] / "store" / "runs" / "run1" / "replies"
    assert len(list(replies.rglob("*.npz"))) == 4
    assert [answer.error for answer in made.put("a", *asks[3])] == [0, 0, 0]
    assert made.number("a", asks[0][1]) == 413, "an answer that was given is not given anew"
    (receipt,) = made.put("a", asks[0][0])
    assert receipt.receipt == {"work": digests[0]}


def test_a_forgotten_run_leaves_the_ledger_and_answers_no_more(trained: Consortium) -> None:
    before = len(lines(trained))
    done = forget(load_site(trained.folders["a"]), "run1")
    assert (done.tasks, done.answers) == (1, 2)
    assert not (trained.folders["a"] / "store" / "work" / "run1").exists()
    assert len(lines(trained)) == before
    assert trained.number("a", message(round_of(trained.study))[1]) == 413
    assert trained.number("a", perform(round_of(trained.study))) == 413
    for name in ("run9", "../run1", ""):
        with pytest.raises(Exception, match="507"):
            forget(load_site(trained.folders["a"]), name)


# ------------------------------------------------------------------------------------------------------ the sum


def test_masked_rounds_of_three_sites_sum_to_what_plain_ones_do_bit_for_bit(
    made: Consortium, template: Path, tmp_path: Path
) -> None:
    asks = message(round_of(made.study, job=Job("net", ONE, 0)))
    masked = made.port().ask(asks)
    plain = anew(template, tmp_path / "plain", BARE_STUDY, masked=False)
    open_ = plain.open(*SITES).port().ask(asks)
    for one, other in zip(masked[1:], open_[1:], strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert int(masked[1]["patients"]) == 72


def test_no_patient_trains_and_validates_or_is_scored_by_a_network_that_saw_him(made: Consortium) -> None:
    folds = np.random.default_rng(1).integers(0, 5, 200)
    for fold in range(5):
        training, validation = roles(made.study.networks[0], Part(fold), folds)
        assert not (training & validation).any()
        assert not (training | validation)[folds == fold].any()
        assert (training | validation)[folds != fold].all()


def test_a_sum_of_updates_over_few_sites_is_refused(made: Consortium) -> None:
    set_policy(made.folders["a"], f"{POLICY}min_sites = 4\n")
    assert made.number("a", perform(round_of(made.study))) == 406


def test_a_message_without_networks_loads_no_deep_learning() -> None:
    import subprocess
    import sys

    code = (
        "import sys, client.app, server.app, client.view, client.learning.workbench, client.learning.admission\n"
        "bad = {'torch', 'monai', 'opacus', 'onnx'} & set(sys.modules)\n"
        "sys.exit(', '.join(bad) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""disclosure: what is left of a sum over a hospital by what all others tell of themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.errors import FedmviError
from common.federation.query import Ask, each, perform, total
from common.federation.tasks import Freeze
from common.statistics.expression_alone import ExpressionAlone
from common.statistics.logistic import LogisticSums
from common.statistics.moments import Deviations
from common.statistics.score_shift import ScoreMoments
from common.statistics.training_profile import TrainingProfile
from common.study.recipe import Recipe, Without
from common.study.scoring import frozen_prefixes
from tests.disclosure.consortium import POLICY, SITES, STUDY, Consortium, Row, make, names, recipe
from tests.disclosure.expressed import AGE, FOUND, by_mvi, freeze, products, sequenced
from tests.disclosure.test_shift import STUDIED, fields, frame_of, score
from tests.disclosure.test_shift import alone as score_alone
from tests.disclosure.test_shift_attacks import profile, silenced, summed

TRAINING = ("a", "b", "c")
SHY = "c"
"""The hospital that tells nothing of itself."""


def policy(made: Consortium, site: str, old: str, new: str) -> None:
    toml = made.folders[site] / "site.toml"
    text = toml.read_text()
    assert old in text
    toml.write_text(text.replace(old, new))


def training(made: Consortium) -> Ask:
    return total(TrainingProfile("train", frame_of(made), endpoint="mvi", **fields(made)))


def men_left(made: Consortium, whole: dict[str, np.ndarray], told: dict[str, Any]) -> str:
    """The men among the patients of c by subtraction, and truly: the second column less 0.5, in units of 0.5."""
    n, men = (whole[name].sum(axis=0) - sum(np.asarray(blocks[name]).sum(axis=0) for blocks in told.values())
              for name in ("n", "sum"))  # fmt: skip
    truth = made.frame(SHY, frame_of(made)).columns["sex=male"]
    return f"c has {(men[1] + n) / 2:g} men of {n:g} patients; truly {truth.sum():g} of {truth.size}"


def told_of(made: Consortium, sites: str, ask: Ask) -> dict[str, Any] | None:
    """What sites tell; None where one of them refuses."""
    answers = {site: made.put(site, ask)[0] for site in sites}
    return None if any(answer.error for answer in answers.values()) else {s: a.blocks for s, a in answers.items()}


def test_a_signature_that_was_kept_until_a_hospital_thought_better_of_it_is_no_consent(tmp_path: Path) -> None:
    """c signs while it tells; the coordinator opens the run with that signature after c has stopped telling."""
    made = make(tmp_path, study=STUDIED, masked=True).sign()
    silenced(made, SHY)
    if any(made.number(site, made.opening()) for site in SITES):
        return
    told = told_of(made, "ab", profile(made))
    try:
        whole = summed(made, training(made))[0]
    except FedmviError as error:  # what a and c believe of each other is in their masks, which do not cancel
        assert error.number == 505
        return
    assert told is None or made.number(SHY, training(made)) == 430, men_left(made, whole, told)


@pytest.mark.parametrize("refused", ['risks = ["SUM", "CELLS"]\n', 'refused_queries = ["query.site_profile"]\n'])
def test_who_refuses_profiles_by_its_policy_is_no_hospital_that_tells(tmp_path: Path, refused: str) -> None:
    """c has release_alone for areas, and has PROFILE off: what it signs says that it tells, and it tells nothing."""
    made = make(tmp_path, study=STUDIED, masked=True)
    policy(made, SHY, "release_alone = true\n", f"release_alone = true\n{refused}")
    made.sign().open()
    whole = summed(made, training(made))[0]
    assert made.number(SHY, profile(made)) == 402
    told = told_of(made, "ab", profile(made))
    assert told is None, men_left(made, whole, told)


def test_who_turns_profiles_off_in_a_run_is_held_to_what_it_signed(tmp_path: Path) -> None:
    made = make(tmp_path, study=STUDIED, masked=True).sign().open()
    policy(made, SHY, "release_alone = true\n", 'release_alone = true\nrefused_queries = ["query.site_profile"]\n')
    told = told_of(made, "ab", profile(made))
    assert made.number(SHY, profile(made)) in (402, 430)
    assert told is None or made.number(SHY, training(made)) == 430


@pytest.mark.xfail(strict=True, reason="what others told in a run stays told: consent holds for the data")
def test_what_others_told_while_a_hospital_did_is_not_taken_from_a_later_runs_sum(tmp_path: Path) -> None:
    """c tells in run 1, where only a and b are asked; it stops, and signs so in run 2, whose sum is over c too."""
    made = make(tmp_path, study=STUDIED, masked=True).sign().open()
    told = told_of(made, "ab", profile(made))
    assert told is not None
    silenced(made, SHY)
    again = made.with_ticket(run_id="run2").sign().open()
    if any(again.number(site, training(again)) for site in TRAINING):
        return
    pytest.fail(men_left(again, summed(again, training(again))[0], told))


FOUR = STUDIED.replace('sites = ["a", "b", "c"]', 'sites = ["a", "b", "c", "g"]') + (
    '\n[federation]\nmissing_site = "leave-out"\n'
)


@pytest.mark.parametrize("first", ["sums", "profiles"])
def test_a_run_without_a_hospital_in_which_all_others_tell_does_not_tell_its_part(tmp_path: Path, first: str) -> None:
    """c agreed to nothing. One run has its sums; in another, feigned to lack it, all others tell."""
    made = make(tmp_path, study=FOUR, masked=True, sites=(*SITES, "g"))
    silenced(made, SHY)
    with_c = made.ticket.rosters
    without_c = {name: tuple(s for s in sites if s != SHY) for name, sites in with_c.items()}

    def sums() -> dict[str, np.ndarray] | None:
        run = made.with_ticket(run_id="with").sign().open(*SITES, "g")
        if any(run.number(site, training(run)) for site in with_c["train"]):
            return None
        return summed(run, training(run))[0]

    def profiles() -> dict[str, Any] | None:
        run = made.with_ticket(run_id="without", rosters=without_c).sign().open(*(s for s in (*SITES, "g") if s != SHY))
        return told_of(run, "abg", profile(run))

    if first == "sums":
        whole, told = sums(), profiles()
    else:
        told, whole = profiles(), sums()
    assert whole is None or told is None, men_left(made, whole, told)


def test_means_of_genes_that_others_tell_with_their_tests_do_not_leave_those_of_one(tmp_path: Path) -> None:
    """query.expression_alone has each gene's mean; the sums of levels less those means are the last one's."""
    made = sequenced(tmp_path, masked=True, policy=POLICY)
    silenced(made, "f")
    run = made.with_ticket(run_id="run2").sign().open()
    freeze(run)
    ask = each(ExpressionAlone("rna", by_mvi(run), FOUND, AGE, scale="counts", least=1.0, min_class=5,
                               libraries="total", min_cell=5))  # fmt: skip
    whole = summed(run, products(run))[0]["level"]
    told = told_of(run, "de", ask)
    if told is None:
        return
    f = run.frame("f", by_mvi(run), "rna")
    y = products(run).question.logs(f, slice(0, len(FOUND)))
    left = whole - sum(np.asarray(told[s]["classes"]).sum() * np.asarray(told[s]["mean"]) for s in "de")
    kept = np.logical_and(*(np.asarray(told[s]["kept"]) == 1 for s in "de"))
    gap = np.abs(left / f.n - y.mean(axis=0))[kept]
    assert gap.max() > 0.01, f"means of {kept.sum()} genes at f, to {gap.max():.1e}"


def test_mean_scores_that_others_tell_by_class_do_not_leave_those_of_one(tmp_path: Path) -> None:
    """ScoreShiftAlone has the mean score of either class; training's sums less the others' are the last one's."""
    made = make(tmp_path, study=STUDIED, masked=True)
    silenced(made, SHY)
    made.sign().open()
    prefixes = tuple(sorted(frozen_prefixes(frame_of(made).then(score(made)))))
    assert [made.number(site, perform(Freeze(prefixes, ()))) for site in SITES] == [0] * 6
    recipe = frame_of(made).then(score(made))
    whole = summed(made, total(ScoreMoments("train", recipe, "mvi", "score.clinical")))[0]
    n, mean = whole["n"].astype(float), whole["sum"] / whole["n"]
    variance = whole["square"] / n - mean**2
    reference = np.column_stack([n, mean, variance])
    told = told_of(made, "ab", score_alone(made, "train", part=True, reference=reference))
    if told is None:
        return
    left_n, left = n.copy(), whole["sum"].copy()
    for blocks in told.values():
        own_n = np.asarray(blocks["classes"])[:2].astype(float)
        own = mean + np.asarray(blocks["apart"]) * np.sqrt(variance * (1 / own_n - 1 / n))
        left_n, left = left_n - own_n, left - own_n * own
    frame = made.frame(SHY, recipe)
    risk, y = frame.columns["score.clinical"], frame.endpoints["mvi"]
    truth = [np.log(risk[y == k] / (1 - risk[y == k])).mean() for k in (0, 1)]
    assert np.abs(left / left_n - truth).max() > 0.01, f"mean logits of c by class {left / left_n} ({truth})"


FOUR_PLAIN = STUDY.replace('sites = ["a", "b", "c"]', 'sites = ["a", "b", "c", "g"]') + (
    '\n[federation]\nmissing_site = "leave-out"\n'
)


def step(made: Consortium) -> Any:
    return total(
        LogisticSums("train", recipe(made.study, "clinical"), "mvi", names(made.study, "clinical"), np.zeros(5))
    )


def test_consent_to_be_left_out_that_was_signed_and_withdrawn_before_the_opening_is_none(tmp_path: Path) -> None:
    """c signs while it may be left out, withdraws, and then the run is opened with the old signature."""
    made = make(tmp_path, study=FOUR_PLAIN, masked=True, sites=(*SITES, "g"))
    toml = made.folders["c"] / "site.toml"
    plain = toml.read_text()
    toml.write_text(plain + "may_be_left_out = true\n")
    made.sign()
    toml.write_text(plain)
    if any(made.number(site, made.opening()) for site in (*SITES, "g")):
        return
    if any(made.number(site, step(made)) for site in "abcg"):
        return
    try:
        whole = summed(made, step(made))[0]
    except FedmviError as error:  # what a and c believe of each other is in their masks, which do not cancel
        assert error.number == 505
        return
    left = {name: tuple(s for s in sites if s != "c") for name, sites in made.ticket.rosters.items()}
    again = made.with_ticket(run_id="run2", rosters=left).sign(*(s for s in (*SITES, "g") if s != "c"))
    again.open(*(s for s in (*SITES, "g") if s != "c"))
    numbers = [again.number(site, step(again)) for site in "abg"]
    if numbers != [0, 0, 0]:
        return
    own = whole["score"] - summed(again, step(again))[0]["score"]
    query = step(made).question
    truth = query.answer(made.frame("c", query.recipe))["score"]
    pytest.fail(f"the score of c {own}, truly {truth}")


def odd(rows: list[Row]) -> None:
    """All patients are 50 years old but two."""
    for i, row in enumerate(rows):
        row["age"] = {3: "71.5", 30: "83"}.get(i, "50")


def told_columns(made: Consortium, site: str) -> list[int]:
    answer = made.put(site, profile(made))[0]
    assert not answer.error
    return answer.blocks["told"].tolist()


def test_two_patients_whom_a_hospital_does_not_tell_are_not_what_the_others_leave(tmp_path: Path) -> None:
    made = make(tmp_path, {"c": odd}, study=STUDIED, masked=True).sign().open()
    whole, told = summed(made, training(made))[0], {}
    for site in TRAINING:
        answer = made.put(site, profile(made))[0]
        assert not answer.error
        told[site] = answer.blocks
    n = int(np.asarray(told["c"]["n"]).sum())
    s = 9 * (whole["sum"][:, 0].sum() - sum(told[site]["sum"][:, 0].sum() for site in "ab"))
    q = 81 * (whole["cross"][0] - sum(told[site]["square"][0] for site in "ab"))
    excess, squares = s + 45 * n - 50 * n, q - 25 * n - 2 * 5 * (s - 5 * n)
    root = np.sqrt(2 * squares - excess**2)
    found = sorted([50 + (excess - root) / 2, 50 + (excess + root) / 2])
    assert found != pytest.approx([71.5, 83.0], abs=1e-6), f"two patients of c are {found} years old"
    # Nobody tells of the age, and everybody of the rest, of which c told too.
    assert [told[site]["told"].tolist() for site in TRAINING] == [[0, 1, 1, 1]] * 3
    assert not any(told[site]["sum"][:, 0].any() or told[site]["square"][0] for site in TRAINING)


def test_a_level_that_few_patients_of_one_hospital_have_is_counted_by_nobody(tmp_path: Path) -> None:
    def rare(rows: list[Row]) -> None:
        for i, row in enumerate(rows):
            row["cirrhosis"] = "yes" if i < 3 else "no"

    made = make(tmp_path, {"c": rare}, study=STUDIED, masked=True).sign().open()
    assert [told_columns(made, site) for site in TRAINING] == [[1, 1, 1, 0]] * 3
    assert [told_columns_elsewhere(made, site) for site in "def"] == [[1, 1, 1, 1]] * 3, "c is not in that cohort"


def told_columns_elsewhere(made: Consortium, site: str) -> list[int]:
    answer = made.put(site, profile(made, "external"))[0]
    assert not answer.error
    return answer.blocks["told"].tolist()


def test_what_enough_hospitals_hide_the_others_may_tell(tmp_path: Path) -> None:
    six = STUDIED.replace('sites = ["a", "b", "c"]', 'sites = ["a", "b", "c", "g", "h", "i"]')
    made = make(tmp_path, dict.fromkeys("cgh", odd), study=six, masked=True, sites=(*SITES, "g", "h", "i"))
    made.sign().open(*SITES, "g", "h", "i")
    assert [told_columns(made, site)[0] for site in ("a", "b", "c", "g", "h", "i")] == [1, 1, 0, 0, 0, 1]


@pytest.mark.parametrize("silent", [False, True])
def test_hospitals_that_may_be_left_out_hide_nobody_else(tmp_path: Path, silent: bool) -> None:
    """c, g and h hide the age, or tell nothing; but the parts of g and h are had from sums without them."""
    six = STUDIED.replace('sites = ["a", "b", "c"]', 'sites = ["a", "b", "c", "g", "h", "i"]')
    six = six.replace('models = ["clinical"]', 'models = ["clinical"]\nleave_one_centre_out = true')
    made = make(tmp_path, dict.fromkeys("cgh", odd), study=six, masked=True, sites=(*SITES, "g", "h", "i"))
    for site in "gh":
        policy(made, site, "release_alone = true\n", "release_alone = true\nmay_be_left_out = true\n")
    for site in "cgh" if silent else "":
        policy(made, site, "release_alone = true\n", "")
    made.sign().open(*SITES, "g", "h", "i")
    if silent:
        assert [made.number(site, profile(made)) for site in "abi"] == [438] * 3
    else:
        assert [told_columns(made, site)[0] for site in "abi"] == [0] * 3


def test_the_part_of_a_hospital_that_may_be_left_out_is_of_no_column_in_which_few_differ(tmp_path: Path) -> None:
    four = STUDIED.replace('sites = ["a", "b", "c"]', 'sites = ["a", "b", "c", "g"]')
    four = four.replace('models = ["clinical"]', 'models = ["clinical"]\nleave_one_centre_out = true')
    made = make(tmp_path, {"c": odd}, study=four, masked=True, sites=(*SITES, "g"))
    for site in "abcg":
        policy(made, site, "release_alone = true\n", "release_alone = true\nmay_be_left_out = true\n")
    made.sign().open(*SITES, "g")
    own = names(made.study, "clinical")
    without = {s: Recipe((Without(s), *recipe(made.study, "clinical").steps)) for s in "ac"}
    asks = {s: total(Deviations("train", without[s], own, np.zeros(4))) for s in "ac"}
    assert [made.number(site, asks["c"]) for site in "abg"] == [0, 0, 0]
    assert made.number("c", asks["c"]) == 409, "the sum with it less this one would be of two patients"
    assert made.number("b", asks["a"]) == 0


def test_an_older_signature_that_hid_less_spoils_the_sum(tmp_path: Path) -> None:
    """c signs, then makes its cell larger, so that it would hide the age; a and b are shown what it signed before."""

    def seven(rows: list[Row]) -> None:
        for i, row in enumerate(rows):
            row["age"] = str(60 + i) if i < 7 else "50"

    made = make(tmp_path, {"c": seven}, study=STUDIED, masked=True).sign()
    before = made.signed
    policy(made, "c", "release_alone = true\n", "release_alone = true\nmin_cell = 10\n")
    made.sign()
    assert [json.loads(e.hides) for e in before if e.site == "c"] == [{}]
    assert [json.loads(e.hides) for e in made.signed if e.site == "c"] == [{"train": ["age"]}]
    made.open("c", "d", "e", "f")
    made.signed = before
    made.open("a", "b")
    assert [told_columns(made, site)[0] for site in "ab"] == [1, 1]
    with pytest.raises(FedmviError) as met:
        summed(made, training(made))
    assert met.value.number == 505


def test_a_score_that_few_patients_of_a_hospital_differ_in_is_in_no_sum_that_all_others_can_be_taken_from(
    tmp_path: Path,
) -> None:
    def alike(rows: list[Row]) -> None:
        for i, row in enumerate(rows):
            row |= {"sex": "male", "afp": "10", "cirrhosis": "no", "age": {3: "71.5", 30: "83"}.get(i, "50")}

    made = make(tmp_path, {"c": alike}, study=STUDIED, masked=True).sign().open()
    scored = frame_of(made).then(score(made))
    assert [made.number(s, perform(Freeze(tuple(sorted(frozen_prefixes(scored))), ()))) for s in SITES] == [0] * 6
    asked = total(ScoreMoments("train", scored, "mvi", "score.clinical"))
    assert [made.number(site, asked) for site in TRAINING] == [0, 0, 409]


FIVE = STUDIED.replace('sites = ["a", "b", "c"]', 'sites = ["a", "b", "c", "g", "h"]')


@pytest.mark.xfail(strict=True, reason="who is silent hides among the silent, and two of three may be accomplices")
def test_two_silent_accomplices_do_not_leave_a_silent_hospital_alone(tmp_path: Path) -> None:
    """c, g and h tell nothing, and g and h give the coordinator their parts: of five hospitals three are enough."""
    made = make(tmp_path, study=FIVE, masked=True, sites=(*SITES, "g", "h"))
    for site in "cgh":
        toml = made.folders[site] / "site.toml"
        toml.write_text(toml.read_text().replace("release_alone = true\n", ""))
    made.sign().open(*SITES, "g", "h")
    whole = summed(made, training(made))[0]
    answers = [made.put(site, profile(made))[0] for site in "ab"]
    if any(answer.error for answer in answers):
        return
    men = whole["sum"].sum(axis=0)[1] - sum(answer.blocks["sum"].sum(axis=0)[1] for answer in answers)
    for site in "gh":
        column = made.frame(site, frame_of(made)).columns["sex=male"]
        men -= float(((column - 0.5) / 0.5).sum())
    truth = made.frame("c", frame_of(made)).columns["sex=male"]
    left = (men + truth.size) / 2
    assert abs(left - truth.sum()) > 0.01, f"c has {left:g} men; truly {truth.sum():g}"

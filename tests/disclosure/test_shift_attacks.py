"""disclosure: attacks on what compares hospitals, by a coordinator that sends well-formed questions of its choice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from client.cohort.site import load_site
from client.preparation.prepare import prepare
from common.federation.codec import pack
from common.federation.query import Ask, each, perform, total
from common.federation.runner import Conclusion, conclude
from common.federation.tasks import Freeze, FreezeCorrections
from common.statistics.by_centre import CentreAlone
from common.statistics.case_mix import CaseMixAlone
from common.statistics.logistic import LogisticSums
from common.statistics.moments import Deviations
from common.statistics.penalised_logistic import PenalisedSums
from common.statistics.risk_quality import RiskQualityAlone
from common.statistics.roc import RocAlone
from common.statistics.score_shift import ScoreShiftAlone
from common.statistics.site_permutation import SitePermutations
from common.statistics.site_profile import SiteProfile
from common.statistics.training_profile import TrainingProfile
from common.study.analyses import FOLDS
from common.study.coding import coded_columns
from common.study.recipe import Complete, Fold, ModelColumns, Recipe, Score, Select, Without
from tests.disclosure.consortium import SITES, Consortium, Row, make, names, recipe, rows_of, write_site
from tests.disclosure.test_shift import STUDIED, fields, frame_of
from tests.server.study.left_out_study import ONE_MODEL, OPEN, PLAIN, model, reduced, shift, signal, variables
from tests.server.study.recalibrated_study import ALONE, SEVERAL, TRAINED, alone_text, outcomes
from tests.server.study.reduced_study import featured

TRAINING = ("a", "b", "c")
PATIENTS = 60


def opened(folder: Path, *changes, study: str = STUDIED, **more) -> Consortium:
    made = make(folder, *changes, study=study, **more)
    return (made.sign() if more.get("masked") else made).open()


def profile(made: Consortium, cohort: str = "train", **changes) -> Ask:
    return each(SiteProfile(cohort, frame_of(made), **fields(made, **changes), min_cell=5))


def deals(made: Consortium, first: int, number: int, **changes) -> Ask:
    known = fields(made, **changes)
    del known["direction"]
    return total(SitePermutations("train", frame_of(made), **known, first=first, deals=number))


def summed(made: Consortium, *asks: Ask) -> list[dict[str, np.ndarray]]:
    """What a coordinator has of totals."""

    def asking() -> Conclusion[list[dict[str, np.ndarray]]]:
        replies = yield tuple(asks)
        return list(replies)

    return conclude(made.port(), [asking()])[0]


def true_rows(made: Consortium) -> np.ndarray:
    """(n, p) the standardised rows of all patients in training."""
    frames = [made.frame(site, frame_of(made)) for site in TRAINING]
    known = fields(made)
    values = np.vstack([frame.matrix(known["columns"]) for frame in frames])
    return (values - known["centre"]) / known["scale"]


def found_in(rows: np.ndarray, truth: np.ndarray) -> int:
    """How many of the true rows are among those that an attacker has, to 1/32 of a standard deviation."""
    truth = np.round(truth * 32) / 32
    return sum(bool((np.abs(rows - row).max(axis=1) < 1e-9).any()) for row in truth) if len(rows) else 0


def test_one_run_of_small_drawn_hospitals_tells_no_rows(tmp_path: Path) -> None:
    """Of a half of a drawn hospital that one patient drew, the sums would be his row."""
    made = opened(tmp_path, masked=True)
    few = deals(made, 1, 99, shares=np.full(18, 1 / 18), samples=np.full(82, 1 / 18))
    assert [made.number(site, few) for site in TRAINING] == [403] * 3
    told = summed(made, deals(made, 1, 99, shares=np.full(8, 1 / 8), samples=np.full(92, 1 / 8)))[0]
    assert told["n"].min() >= 5, "the smallest that is answered"


def test_a_second_run_with_other_shares_tells_no_rows(tmp_path: Path) -> None:
    """The same draws cut at a place nearby: whoever drew a number between both places is the difference."""
    made = opened(tmp_path, masked=True)
    again = made.with_ticket(run_id="run2").sign().open()
    first, second = (
        summed(one, deals(one, 1, 99, shares=np.array([share, 1 - share]), samples=np.zeros(0)))[0]
        for one, share in ((made, 0.5), (again, 0.5 + 1 / 180))
    )
    n, sums = second["n"][:, 0] - first["n"][:, 0], second["sum"][:, 0] - first["sum"][:, 0]
    rows = np.unique(sums[n == 1], axis=0)
    hit = found_in(rows, true_rows(made))
    assert hit == 0, f"{int((n == 1).sum())} differences of one patient, {hit} of {3 * PATIENTS} true rows"


@pytest.mark.parametrize(("centre", "scale"), [(85.0, 1.0), (58.75, 1e-3)])
def test_no_centre_and_scale_tell_more_of_a_named_hospital_than_its_sum(
    tmp_path: Path, centre: float, scale: float
) -> None:
    """Were values cut, a window around the one old patient would tell his age, and a scale of almost nothing would
    count those above a threshold, however few they are."""

    def old(rows: list[Row]) -> None:
        rows[7]["age"] = "87.5"

    made = opened(tmp_path, {"d": old})
    answer = made.put("d", profile(made, "external", centre=np.array([centre, 0.5, 0.5, 0.5]),
                                   scale=np.array([scale, 0.5, 0.5, 0.5])))[0]  # fmt: skip
    ages = made.frame("d", frame_of(made), "external").columns["age"]
    assert answer.blocks["told"][0] == 1
    assert answer.blocks["sum"][:, 0].sum() * scale == pytest.approx((ages - centre).sum(), rel=1e-9)
    assert answer.blocks["square"][0] * scale**2 == pytest.approx(np.square(ages - centre).sum(), rel=1e-9)


def test_sums_of_training_by_a_window_are_the_sums_that_are_told_anyhow(tmp_path: Path) -> None:
    """Of all hospitals together: the same sums with the one patient cut who lies outside would leave his age."""

    def old(rows: list[Row]) -> None:
        rows[7]["age"] = "87.5"

    made = opened(tmp_path, {"b": old}, masked=True)
    window = {"centre": np.array([35.0, 0.5, 0.5, 0.5]), "scale": np.array([4.0, 0.5, 0.5, 0.5])}
    asked = total(TrainingProfile("train", frame_of(made), endpoint="mvi", **fields(made, **window)))
    own = names(made.study, "clinical")
    zero = np.zeros(len(own))
    whole, moments = summed(made, asked, total(Deviations("train", frame_of(made), own, zero)))
    left = moments["sum"][0] - (whole["sum"][:, 0].sum() * 4.0 + 35.0 * whole["n"].sum())
    assert abs(left) < 1e-6, f"a patient is {75 + left} years old"


def test_no_centre_and_scale_undo_the_rounding_of_drawn_hospitals_or_are_refused_by_values(tmp_path: Path) -> None:
    """Sums of unknown subsets of exact numbers can be solved for the numbers; and a refusal that depends on how far one
    hospital's values lie from a chosen centre tells its mean and spread, in as many runs as digits are wanted."""

    def exact(rows: list[Row]) -> None:
        for i, row in enumerate(rows):
            row["age"] = f"{40 + 7.123456 * np.sin(i):.6f}"

    made = opened(tmp_path, dict.fromkeys("abc", exact), masked=True)
    steps = [2.0 ** np.floor(np.log2(made.frame(s, frame_of(made)).columns["age"].std() / 32)) for s in TRAINING]
    for place, (centre, scale) in enumerate([(45.0, 9.0), (45.0, 1e-6), (0.0, 1.0), (59.5, 1e-3)]):
        run = made.with_ticket(run_id=f"run-{place}").sign().open()
        window = {"centre": np.array([centre, 0.5, 0.5, 0.5]), "scale": np.array([scale, 0.5, 0.5, 0.5])}
        told = summed(run, deals(run, 1, 99, shares=np.array([0.5, 0.5]), samples=np.zeros(0), **window))[0]
        ages = told["sum"][..., 0] * scale + told["n"] * centre
        assert np.allclose(ages / min(steps), np.round(ages / min(steps)), atol=1e-3), (centre, scale)


def test_further_runs_with_other_scales_tell_no_sorted_values_of_a_named_hospital(tmp_path: Path) -> None:
    """Edges of histograms are the coordinator's: a run each, of the same patients, would tell the distribution."""
    made = opened(tmp_path)
    met = []
    for place, threshold in enumerate((40.25, 40.75, 41.25, 40.25)):
        run = made.with_ticket(run_id=f"run-{place}").open("d")
        met.append(run.number("d", profile(run, "external", centre=np.array([threshold, 0.5, 0.5, 0.5]))))
    assert met == [0, 437, 437, 0]


def test_a_number_that_two_patients_have_is_not_told(tmp_path: Path) -> None:
    """Of a number that is the same for all but two patients, mean and spread are these two values."""

    def odd(rows: list[Row]) -> None:
        for i, row in enumerate(rows):
            row["age"] = {3: "71.5", 30: "83"}.get(i, "50")

    made = opened(tmp_path, {"d": odd})
    answer = made.put("d", profile(made, "external"))[0]
    n, s, q = answer.blocks["n"].sum(), answer.blocks["sum"][:, 0].sum() * 9, answer.blocks["square"][0] * 81
    excess, squares = s + 45 * n - 50 * n, q - 25 * n - 2 * 5 * (s - 5 * n)
    root = np.sqrt(2 * squares - excess**2)
    assert answer.blocks["told"][0] == 0, f"values {50 + (excess - root) / 2}, {50 + (excess + root) / 2}"


WIDE = tuple(f"x{i:02d}" for i in range(19))


def test_the_part_of_a_hospital_left_out_holds_no_rows_where_few_of_its_patients_are_complete(tmp_path: Path) -> None:
    """Two Newton steps over as many patients as parameters are their rows: of 20 complete ones all of them were."""

    def few(rows: list[Row]) -> None:
        featured(rows)
        if rows[0]["patient_id"].startswith("b"):
            own = {label: [row for row in rows if row["mvi"] == label] for label in "01"}
            for row in (*own["0"][10:], *own["1"][10:]):
                row["x00"] = ""

    predictors = ", ".join(f'"{name}"' for name in WIDE)
    text = ONE_MODEL + variables(WIDE) + model("many", predictors) + shift("many")
    made = make(tmp_path, dict.fromkeys(SITES, few), study=text, policy=OPEN, masked=True).sign().open()
    select = Select(coded_columns(made.study, next(m for m in made.study.models if m.name == "many").predictors))
    whole = Recipe((select, Complete(WIDE, ("mvi",))))
    without = Recipe((Without("b"), *whole.steps))

    def step(recipe: Recipe) -> Ask:
        return total(LogisticSums("train", recipe, "mvi", WIDE, np.zeros(20), "", (1.0, 1.0)))

    assert [made.number(site, step(whole)) for site in "abcd"] == [0] * 4
    assert made.number("b", step(without)) == 404


def test_the_part_of_a_hospital_left_out_holds_no_rows_of_a_fold(tmp_path: Path) -> None:
    """Everybody's step less that without a fold is the fold's: of 20 patients, whose rows 40 parameters would be."""
    features = tuple(f"x{i:02d}" for i in range(40))
    text = ONE_MODEL + reduced(features) + shift("radiomics")
    made = make(tmp_path, dict.fromkeys(SITES, featured), study=text, policy=OPEN, masked=True).sign().open()
    read = ModelColumns("radiomics")
    whole = Recipe((read, Complete((read.complete,), ("mvi",)), Fold(FOLDS, "mvi")))

    def steps(recipe: Recipe, parameters: int) -> Ask:
        which, working = np.array([0, FOLDS], dtype=np.uint64), np.tile(np.arange(parameters), 2).astype(np.uint64)
        sizes = np.full(2, parameters, dtype=np.uint64)
        return total(PenalisedSums("train", recipe, "mvi", features, "folds", FOLDS + 1, which, np.zeros((2, 41)),
                                   working, sizes))  # fmt: skip

    patients = made.table("b").n
    without = Recipe((Without("b"), *whole.steps))
    assert [made.number(site, steps(whole, 41)) for site in "abcd"] == [0] * 4, patients
    assert made.number("b", steps(without, 41)) == 404, f"41 parameters of {patients // FOLDS} patients"
    assert made.number("b", steps(without, patients // FOLDS)) == 0


def extreme(rows: list[Row]) -> None:
    """One patient of each half of the hospital, and nobody else, has an albumin of 22."""
    outcomes()(rows)
    for place in (3, 4, 7, 11):
        rows[place]["albumin"] = "40"
    rows[6]["albumin"], rows[6]["mvi"] = "22.4", "1"


def frozen_at_d(made: Consortium, coefficients: tuple[float, ...]) -> Recipe:
    """A score that is frozen at d, of whose patients one has an albumin of 22.4, and that opens the test cohort."""
    score = Score("risk", "mvi", names(made.study, "risk"), coefficients, 3.0 * 22.5)
    whole = recipe(made.study, "risk").then(score)
    manifest = Freeze((whole.digest, recipe(made.study, "risk").digest), ())
    assert made.number("d", perform(manifest)) == 0
    assert made.number("d", perform(FreezeCorrections(pack(manifest, Freeze).digest, ()))) == 0
    assert (made.frame("d", whole, "external").columns["albumin"] < 23).sum() == 1
    return whole


@pytest.mark.parametrize("what", ["quality", "centre", "area"])
def test_a_frozen_score_that_one_patient_has_tells_no_value_and_no_outcome_of_a_named_hospital(
    tmp_path: Path, what: str
) -> None:
    """Everybody's risk is 0 but one patient's: sums of risks are his value, and of squared errors his outcome."""
    text = alone_text(SEVERAL) + '\n[shift]\nmodels = ["risk"]\n'
    made = make(tmp_path, {**TRAINED, "d": extreme}, study=text, sites=ALONE).open(*ALONE)
    whole = frozen_at_d(made, (-3.0, 0.0, 0.0))
    asks = {
        "quality": RiskQualityAlone("external", whole, "mvi", "score.risk", 0.5, 10, min_cell=5),
        "centre": CentreAlone("external", whole, "mvi", "score.risk", 10, min_cell=5),
        "area": RocAlone("external", whole, "mvi", "score.risk", 10, min_cell=5),
    }
    assert made.number("d", each(asks[what])) == 409


def with_shift_of_plain(folder: Path, change=signal) -> Consortium:
    return make(folder, dict.fromkeys(SITES, change), study=ONE_MODEL + PLAIN + shift("plain"), policy=OPEN).open()


def scored_plain(made: Consortium) -> Recipe:
    own = names(made.study, "plain")
    predictors = next(m for m in made.study.models if m.name == "plain").predictors
    read = Recipe((Select(coded_columns(made.study, predictors)), Complete(own, ("mvi",))))
    return read.then(Score("plain", "mvi", own, (0.05, 0.1, 0.8, -0.5), -3.0))


def told_by_centre(made: Consortium, site: str) -> dict[str, np.ndarray] | int:
    scored = scored_plain(made)
    assert made.number(site, perform(Freeze((scored.digest,), ()))) == 0
    answer = made.put(site, each(CentreAlone("external", scored, "mvi", "score.plain", 10, min_cell=5)))[0]
    return answer.error or dict(answer.blocks)


def test_a_patient_who_comes_later_is_not_told_by_what_a_site_says_of_itself(tmp_path: Path) -> None:
    """Sums of risks of two runs differ by his risk, counts by his outcome."""
    made = with_shift_of_plain(tmp_path)
    before = told_by_centre(made, "e")
    rows: list[Row] = rows_of("e")
    signal(rows)
    rows.append(dict(rows[0], patient_id="e-new", age="71", mvi="1"))
    write_site(made.folders["e"], "e", rows, OPEN)
    prepare(load_site(made.folders["e"]), made.study)
    again = made.with_ticket(run_id="run2").open("e")
    after = told_by_centre(again, "e")
    assert isinstance(before, dict)
    assert after == 420, (after["expected"] - before["expected"], after["classes"] - before["classes"])


def silenced(made: Consortium, site: str) -> None:
    toml = made.folders[site] / "site.toml"
    toml.write_text(toml.read_text().replace("release_alone = true\n", ""))


def test_a_hospital_that_tells_nothing_alone_is_not_what_the_others_leave_of_a_sum(tmp_path: Path) -> None:
    """Where all others tell their profiles, the sum over all less theirs is its own: mean age by half, of c."""
    made = make(tmp_path, study=STUDIED, masked=True)
    silenced(made, "c")
    made.sign().open()
    assert not made.number("a", total(TrainingProfile("train", frame_of(made), endpoint="mvi", **fields(made))))
    assert [made.number(site, profile(made)) for site in TRAINING] == [438, 438, 408]


def test_who_has_signed_that_it_tells_of_itself_is_held_to_it(tmp_path: Path) -> None:
    """The others have told their parts; a sum that it still answered would be theirs and its own."""
    made = opened(tmp_path, masked=True)
    assert [made.number(site, profile(made)) for site in TRAINING] == [0, 0, 0]
    silenced(made, "c")
    assert made.number("c", total(TrainingProfile("train", frame_of(made), endpoint="mvi", **fields(made)))) == 430


def test_a_high_score_and_a_histogram_do_not_count_whoever_lies_between(tmp_path: Path) -> None:
    """Both counts are of many; their difference is of one."""
    made = opened(tmp_path)
    age = np.sort(made.frame("d", frame_of(made), "external").columns["age"])
    edge = (age[29] + age[30]) / 2
    direction = np.array([-(0.5 + 0.02), 1.0, 0.0, 0.0, 0.0])  # above one age more than the middle edge
    answer = made.put("d", profile(made, "external", centre=np.array([edge, 0.5, 0.5, 0.5]),
                                   scale=np.array([1.0, 0.5, 0.5, 0.5]), direction=direction))[0]  # fmt: skip
    counts, above = answer.blocks["counts"][0], answer.blocks["above"]
    below = int(counts[:5][counts[:5] > 0].sum())
    apart = int(above[0]) - below
    assert above[0] < 0 or apart == 0 or abs(apart) >= 5, f"{below} below the edge, {above[0]} below the score: {apart}"


def test_a_column_of_no_weight_does_not_hide_that_a_score_is_one_column(tmp_path: Path) -> None:
    """As before, with a second column in the direction whose scale is so large that it is the same for everybody."""
    made = opened(tmp_path)
    age = np.sort(made.frame("d", frame_of(made), "external").columns["age"])
    edge = (age[29] + age[30]) / 2
    direction = np.array([-(0.5 + 0.02), 1.0, 1.0, 1.0, 1.0])
    answer = made.put("d", profile(made, "external", centre=np.array([edge, 0.5, 0.5, 0.5]),
                                   scale=np.array([1.0, 1e6, 1e6, 1e6]), direction=direction))[0]  # fmt: skip
    counts, above = answer.blocks["counts"][0], answer.blocks["above"]
    below = int(counts[:5][counts[:5] > 0].sum())
    apart = int(above[0]) - below
    assert above[0] < 0 or apart == 0 or abs(apart) >= 5, f"{below} below the edge, {above[0]} below the score: {apart}"


def test_whole_numbers_do_not_tell_how_few_are_cut(tmp_path: Path) -> None:
    """Ages are whole years: with a centre a hundredth off, the fraction of the sum counts those who are not cut."""

    def whole(rows: list[Row]) -> None:
        for i, row in enumerate(rows):
            row["age"] = str(40 + i % 30) if i != 5 else "91"

    made = opened(tmp_path, {"d": whole})
    answer = made.put("d", profile(made, "external", centre=np.array([60.01, 0.5, 0.5, 0.5]),
                                   scale=np.array([3.0, 0.5, 0.5, 0.5])))[0]  # fmt: skip
    n, sums = answer.blocks["n"], answer.blocks["sum"][:, 0] * 3.0
    inside = np.round(-(sums - np.round(sums)) * 100).astype(int) % 100
    assert answer.blocks["told"][0] == 0 or (inside == n).all(), f"cut at 90 years, by half: {n - inside}"


def test_other_columns_of_a_reduced_model_are_no_other_profile(tmp_path: Path) -> None:
    """Of a model that is reduced some columns are left; which ones is not a way to ask again by another scale."""
    features = tuple(f"x{i:02d}" for i in range(20))
    text = ONE_MODEL + reduced(features) + shift("radiomics", leave=False)
    made = make(tmp_path, dict.fromkeys(SITES, featured), study=text, policy=OPEN).open()
    read = ModelColumns("radiomics")
    frame = Recipe((read, Complete((read.complete,), ("mvi",))))

    def asked(one: Consortium, columns: tuple[str, ...], centre: float) -> int:
        p = len(columns)
        query = SiteProfile(
            "external", frame, columns, columns, np.full(p, centre), np.ones(p), np.zeros(p + 1), min_cell=5
        )
        return one.number("e", each(query))

    assert asked(made, features[:6], 0.0) == 0
    again = made.with_ticket(run_id="run2").open("e")
    assert asked(again, features[:5], 0.1) != 0, "another scale for the same patients"


def test_what_one_question_told_of_a_site_is_not_taken_from_another_in_a_later_run(tmp_path: Path) -> None:
    """Both tell the sum of risks: of one before a patient comes, of the other afterwards."""
    made = with_shift_of_plain(tmp_path)
    before = told_by_centre(made, "e")
    assert isinstance(before, dict)
    rows: list[Row] = rows_of("e")
    signal(rows)
    rows.append(dict(rows[0], patient_id="e-new", age="71", mvi="1"))
    write_site(made.folders["e"], "e", rows, OPEN)
    prepare(load_site(made.folders["e"]), made.study)
    again = made.with_ticket(run_id="run2").open("e")
    scored = scored_plain(again)
    assert again.number("e", perform(Freeze((scored.digest,), ()))) == 0
    reference = np.array([[50.0, -0.2, 1.0], [50.0, 0.2, 1.0]])
    answer = again.put(
        "e", each(ScoreShiftAlone("external", scored, "mvi", "score.plain", 10, reference, False, min_cell=5))
    )[0]
    assert answer.error == 420


@pytest.mark.parametrize("what", ["quality", "centre", "shift", "mix"])
def test_a_frozen_score_of_two_levels_and_one_patient_tells_nothing_of_him(tmp_path: Path, what: str) -> None:
    """Half of the patients have the risk 0, half 1, by a binary predictor; one has another. Whatever value he has, what
    the hospital tells of itself is the same, to the last bit: no digit of it is his."""
    told = []
    for i, albumin in enumerate(("22.4", "22.2", "22.45")):

        def change(rows: list[Row], albumin: str = albumin) -> None:
            extreme(rows)
            rows[6] |= {"cirrhosis": "no", "albumin": albumin}

        text = alone_text(SEVERAL) + '\n[shift]\nmodels = ["risk"]\n'
        made = make(tmp_path / str(i), {**TRAINED, "d": change}, study=text, sites=ALONE).open(*ALONE)
        whole = frozen_at_d(made, (-3.0, 0.0, 200.0))
        reference = np.array([[50.0, -0.2, 1.0], [50.0, 0.2, 1.0]])
        asks = {
            "quality": RiskQualityAlone("external", whole, "mvi", "score.risk", 0.5, 10, min_cell=5),
            "centre": CentreAlone("external", whole, "mvi", "score.risk", 10, min_cell=5),
            "shift": ScoreShiftAlone("external", whole, "mvi", "score.risk", 10, reference, False, min_cell=5),
            "mix": CaseMixAlone("external", whole, "score.risk", 10, min_cell=5),
        }
        answer = made.put("d", each(asks[what]))[0]
        told.append(answer.error or {name: block.tobytes() for name, block in answer.blocks.items()})
    assert told[0] == told[1] == told[2]
    assert what != "quality" or isinstance(told[0], dict), "or nothing is tried"

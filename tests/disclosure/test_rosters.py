"""disclosure: what a coordinator that leaves out whom it likes learns of a hospital that has not signed that it may."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from client.cohort.site import load_site
from client.preparation.prepare import prepare
from client.release import rosters
from common.errors import FedmviError
from common.federation.query import Summary, total
from common.statistics.counts import Classes
from common.statistics.moments import Deviations
from common.study.loader import parse_study
from common.study.recipe import Recipe, Select
from tests.disclosure.consortium import STUDY, Consortium, columns, make, names, rows_of, write_site

CLOSED = 'approved_studies = ["any"]\n'
OPEN = CLOSED + "release_alone = true\nmay_be_left_out = true\n"
FIVE = ("a", "b", "c", "d", "e")
LATER = '[[cohorts]]\nname = "later"\nrole = "outcome"\nsites = ["a", "b", "c", "d", "e"]\n\n'


def _study() -> str:
    """One training cohort of five hospitals, and an outcome cohort of the same patients; sites may be left out."""
    whole = STUDY.split("[[comparisons]]")[0].replace('["a", "b", "c"]', '["a", "b", "c", "d", "e"]')
    begin, end = whole.index('[[cohorts]]\nname = "external"'), whole.index("[[models]]")
    text = (whole[:begin] + LATER + whole[end:]).replace('evaluate = ["external"]\n', "")
    return text + '\n[federation]\nmissing_site = "leave-out"\n'


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    return make(tmp_path, study=_study(), policy=CLOSED, masked=True, sites=FIVE)


def run_over(made: Consortium, run_id: str, roster: str, masked: bool = True) -> Consortium:
    """A run over these sites, which all of them have opened."""
    sites = tuple(roster)
    run = made.with_ticket(run_id=run_id, rosters={"train": sites, "later": sites})
    return (run.sign(*sites) if masked else run).open(*sites)


def told(run: Consortium, cohort: str, used: tuple[str, ...]) -> Summary | FedmviError:
    return run.port().ask([total(_sums(run, cohort, used))])[0]


def _sums(run: Consortium, cohort: str, used: tuple[str, ...]) -> Deviations:
    return Deviations(cohort, Recipe((Select(columns(run.study, "clinical")),)), used, np.zeros(len(used)))


def refused(answer: object) -> int:
    return answer.number if isinstance(answer, FedmviError) else 0


def policy(made: Consortium, policies: Mapping[str, str], *, masked: bool = True) -> None:
    for site, text in policies.items():
        write_site(made.folders[site], site, rows_of(site), text, masked=masked)


def test_three_rosters_that_differ_by_many_sites_would_tell_one_sites_sums(made: Consortium) -> None:
    """abc + ade - bcde = 2a, and no site sees all three."""
    used = names(made.study, "clinical")
    answers = [told(run_over(made, f"run{r}", r), "train", used) for r in ("abc", "ade", "bcde")]
    assert [refused(answer) for answer in answers] == [0, 421, 421]


def test_so_they_do_where_a_site_does_not_compare_the_rosters(
    made: Consortium, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rosters.Rosters, "admit", lambda *_: None)
    used = names(made.study, "clinical")
    abc, ade, bcde = (told(run_over(made, f"run{r}", r), "train", used) for r in ("abc", "ade", "bcde"))
    own = _sums(made, "train", used).answer(made.frame("a", _sums(made, "train", used).recipe))["sum"]
    np.testing.assert_allclose((abc["sum"] + ade["sum"] - bcde["sum"]) / 2, own, rtol=1e-9)  # type: ignore[index]


def test_a_cohort_of_the_same_patients_under_another_name_is_no_way_round(made: Consortium) -> None:
    used = names(made.study, "clinical")
    assert not refused(told(run_over(made, "run1", "abcde"), "train", used))
    without = run_over(made, "run2", "abce")
    assert [refused(told(without, "later", (one,))) for one in used] == [421] * len(used)


def test_who_signed_no_in_a_run_is_held_to_it_although_an_earlier_run_has_its_yes(made: Consortium) -> None:
    used = names(made.study, "clinical")
    policy(made, {"d": OPEN})
    run_over(made, "run1", "abcde").port().ask([total(Classes("train", Recipe(), "mvi", 5, guarded=False))])
    policy(made, {"d": CLOSED})
    assert not refused(told(run_over(made, "run2", "abcde"), "train", used))
    without = run_over(made, "run3", "abce")
    assert [refused(told(without, "train", (one,))) for one in used] == [421] * len(used)


def test_what_hospitals_allow_of_their_own_patients_allows_nothing_of_another_hospitals(made: Consortium) -> None:
    used = names(made.study, "clinical")
    assert not refused(told(run_over(made, "run1", "abcde"), "train", used))
    policy(made, dict.fromkeys("abce", CLOSED + 'allow_differences = ["run1"]\n'))
    assert refused(told(run_over(made, "run2", "abce"), "train", used)) == 421


def test_hospitals_that_take_off_their_masks_tell_nothing_of_one_that_kept_them(made: Consortium) -> None:
    used = names(made.study, "clinical")
    assert not refused(told(run_over(made, "run1", "abcde"), "train", used))
    for site in "abce":
        toml = made.folders[site] / "site.toml"
        toml.write_text(toml.read_text().replace("[policy]", '[policy]\nmasks = "off"\nrelease_alone = true'))
    assert refused(told(run_over(made, "run2", "abce", masked=False), "train", used)) == 421


def test_who_has_signed_that_its_own_sums_may_be_told_may_be_left_out(made: Consortium) -> None:
    used = names(made.study, "clinical")
    policy(made, {"d": OPEN})
    assert not refused(told(run_over(made, "run1", "abcde"), "train", used))
    assert not refused(told(run_over(made, "run2", "abce"), "train", used))


def test_a_site_that_took_its_yes_back_adds_nothing_more_to_sums_that_tell_it(made: Consortium) -> None:
    used = names(made.study, "clinical")
    policy(made, {"d": OPEN})
    whole = run_over(made, "run1", "abcde")
    assert not refused(told(whole, "train", used[:1]))
    without = run_over(made, "run2", "abce")
    assert not refused(told(without, "train", used[:1]))
    policy(made, {"d": CLOSED})
    with pytest.raises(FedmviError, match="430"):  # it has signed otherwise
        told(whole, "train", used)
    # Opened again it would be answered too: the others repeat what they said when it still consented.
    with pytest.raises(FedmviError, match="430"):
        run_over(made, "run1", "abcde")
    assert refused(told(run_over(made, "run3", "abcde"), "train", used)) == 421, "sums without it were told"
    assert not refused(told(without, "train", used))


def test_a_few_changed_patients_open_no_other_hospital_to_another_study(made: Consortium) -> None:
    used = names(made.study, "clinical")
    one = run_over(made, "run1", "abcde")
    assert not refused(told(one, "train", used))
    text = _study().replace("A small study", "Another").replace(', "d", "e"]', ', "e"]').split("[federation]")[0]
    other = Consortium(made.folders, parse_study(text))
    for site in "abce":
        write_site(made.folders[site], site, rows_of(site)[1:], CLOSED + 'allow_differences = ["run1"]\n', masked=True)
        prepare(load_site(made.folders[site]), other.study)
    run = other.with_ticket(run_id="run2").sign(*"abce").open(*"abce")
    assert refused(told(run, "train", used)) == 421, "else the difference is its sums and four patients"


def test_a_damaged_record_of_rosters_refuses_rather_than_forgets(made: Consortium) -> None:
    used = names(made.study, "clinical")
    assert not refused(told(run_over(made, "run1", "abcde"), "train", used))
    next((made.folders["a"] / "store" / rosters.FOLDER).glob("*.json")).write_text("[{}]")
    assert refused(told(run_over(made, "run2", "abcde"), "train", used)) == 422

"""server/study: a site that stays away is left out where protocol and site allow it, and named in the results."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from client.answering import answer_message
from client.cohort.site import load_site
from client.release.ledger import Ledger, ledger_file
from common.errors import FedmviError
from common.federation.codec import Packed
from common.published.results import Results, read_results
from common.study.loader import parse_study
from common.study.taking_part import taking_part
from server.report.page import write_report
from server.study.execution import Action, execute
from server.study.missing import AwayError
from server.study.run_directory import RunDirectory
from tests.disclosure.consortium import STUDY, make, rows_of, write_site

LEAVE = '\n[federation]\nmissing_site = "leave-out"\n'
FOUR = STUDY.replace('sites = ["a", "b", "c"]', 'sites = ["a", "b", "c", "d"]').replace('["d", "e", "f"]', '["e", "f"]')
CLOSED = 'approved_studies = ["any"]\nrelease_alone = true\n'
OPEN = CLOSED + "may_be_left_out = true\n"


class Away:
    """Sites in this process, of which one answers no more after so many messages."""

    def __init__(
        self, folders: Mapping[str, Path], site: str = "", after: int = 0, number: int = 508, *, others: bool = False
    ) -> None:
        self._folders, self._site, self._left, self._number, self._others = folders, site, after, number, others

    def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:
        """See `Transport`."""
        for site, message in messages.items():
            if site == self._site:
                if self._left == 0:
                    raise AwayError(self._number, "away", (site,), others=self._others)
                self._left -= 1
            yield site, answer_message(self._folders[site], message)


Sites = Callable[[str], dict[str, Path]]


@pytest.fixture(scope="module", params=["plain", "masked"])
def template(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bool]:
    folder = tmp_path_factory.mktemp(request.param)
    make(folder, study=FOUR + LEAVE, policy=OPEN, masked=request.param == "masked")
    return folder, request.param == "masked"


@pytest.fixture
def sites(template: tuple[Path, bool], tmp_path: Path) -> Sites:
    """Fresh sites that have answered nothing; the policy of site d."""

    def fresh(policy_of_d: str = OPEN) -> dict[str, Path]:
        folder = tmp_path / f"sites{len(list(tmp_path.iterdir()))}"
        shutil.copytree(template[0], folder)
        write_site(folder / "d", "d", rows_of("d"), policy_of_d, masked=template[1])
        return {path.name: path for path in folder.iterdir() if path.is_dir()}

    return fresh


@pytest.fixture(scope="module")
def over_the_others(template: tuple[Path, bool], tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What the study finds over the sites without d, whose roster has never had it."""
    folder = tmp_path_factory.mktemp("three")
    shutil.copytree(template[0], folder / "sites")
    three = begun(folder, "three", FOUR.replace('["a", "b", "c", "d"]', '["a", "b", "c"]'))
    assert conducted(three, Away({path.name: path for path in (folder / "sites").iterdir()})) == 0
    return read_results(three.results_file)


def begun(tmp_path: Path, name: str, study: str = FOUR + LEAVE) -> RunDirectory:
    (tmp_path / f"{name}.toml").write_text(study)
    return RunDirectory.create(tmp_path / name, tmp_path / f"{name}.toml")


def conducted(run: RunDirectory, transport: Away, action: Action = Action.RUN) -> int:
    """The number of the error that the run ends with, 0 if it ends well."""
    try:
        execute(run, transport, action, lambda _: None)
    except FedmviError as error:
        return error.number
    return 0


@pytest.mark.parametrize(("after", "number"), [(0, 508), (1, 508), (4, 503)], ids=["never there", "signed", "midway"])
def test_the_results_are_those_of_a_study_over_the_other_sites_and_name_who_is_left_out(
    sites: Sites, over_the_others: Results, tmp_path: Path, after: int, number: int
) -> None:
    run, folders, expected = begun(tmp_path, "run"), sites(), over_the_others
    first = run.facts()["run_id"]
    assert conducted(run, Away(folders, "d", after, number)) == 0

    found = read_results(run.results_file)
    assert found.left_out == ["d"]
    assert found == expected.model_copy(update={"left_out": ["d"], "study_fingerprint": found.study_fingerprint}), (
        "every number"
    )
    facts = run.facts()
    assert facts["run_id"] != first
    assert [(left["sites"], left["run_id"]) for left in facts["left_out"]] == [(["d"], first)]

    write_report(found, facts, run.folder)
    assert "went on without d," in run.report_file.read_text(encoding="utf-8")
    opened = [e for e in Ledger(ledger_file(load_site(folders["a"]))).entries() if "without d" in e["words"]]
    assert opened and all(e["roster"] == ["a", "b", "c", "e", "f"] for e in opened)


def test_a_run_that_was_interrupted_after_it_left_a_site_out_goes_on_without_it(sites: Sites, tmp_path: Path) -> None:
    folders = sites()
    whole = begun(tmp_path, "whole")
    assert conducted(whole, Away(folders, "d", 4)) == 0

    run, folders = begun(tmp_path, "run"), sites()
    with pytest.raises(KeyboardInterrupt):
        execute(run, _Stopped(folders), Action.RUN, lambda _: None)
    assert run.left_out == ("d",) and not run.results_file.exists()
    assert conducted(run, Away(folders)) == 0, "d is back, and is not asked"
    assert run.results_file.read_bytes() == whole.results_file.read_bytes()


class _Stopped(Away):
    """Site d goes away midway, and the coordinator is stopped soon after."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        super().__init__(folders, "d", 4)
        self._rounds = 0

    def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:
        """See `Transport`."""
        self._rounds += 1
        if self._rounds == 9:
            raise KeyboardInterrupt
        yield from super().send(messages, seconds)


def test_a_site_that_does_not_let_its_own_sums_be_told_is_waited_for(sites: Sites, tmp_path: Path) -> None:
    run, folders = begun(tmp_path, "run"), sites(CLOSED)
    assert conducted(run, Away(folders, "d", 4)) == 517
    failure = run.failure()
    assert failure is not None and failure.site == "d" and "may_be_left_out" in failure.local
    assert run.left_out == ()
    assert conducted(run, Away(folders)) == 0, "it is back"
    assert read_results(run.results_file).left_out == []


def test_the_other_hospitals_hold_to_it_whatever_the_coordinator_says(
    sites: Sites, tmp_path: Path, template: tuple[Path, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not template[1]:
        pytest.skip("without masks the coordinator's program has each site's own sums anyhow")
    run, folders = begun(tmp_path, "run"), sites(CLOSED)
    monkeypatch.setattr(RunDirectory, "facts", _forgetting(RunDirectory.facts))
    assert conducted(run, Away(folders, "d", 4)) == 517
    failure = run.failure()
    assert failure is not None and "FEDMVI-421" in failure.local and failure.site == "d"
    assert run.left_out == () and not run.results_file.exists()
    monkeypatch.undo()
    assert conducted(run, Away(folders)) == 0, "it is back, and the run goes on where it was"


def test_who_was_asked_by_a_plan_has_said_whether_it_may_be_left_out(sites: Sites, tmp_path: Path) -> None:
    run, folders = begun(tmp_path, "run"), sites(CLOSED)
    assert conducted(run, Away(folders), Action.PLAN) == 0
    assert conducted(run, Away(folders, "d", 0)) == 517
    assert conducted(run, Away(folders)) == 0


def test_while_others_are_away_as_well_nobody_is_left_out(sites: Sites, tmp_path: Path) -> None:
    run, folders = begun(tmp_path, "run"), sites()
    assert conducted(run, Away(folders, "d", 4, others=True)) == 508
    assert run.left_out == ()


def test_an_error_that_a_site_says_of_itself_does_not_leave_it_out(sites: Sites, tmp_path: Path) -> None:
    run, folders = begun(tmp_path, "run"), sites()

    class Says(Away):
        def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:
            raise FedmviError(503, "of its own making", site="d")

    assert conducted(run, Says(folders)) == 503
    assert run.left_out == ()


def _forgetting(facts: Callable[[RunDirectory], dict[str, object]]) -> Callable[[RunDirectory], dict[str, object]]:
    return lambda run: {name: fact for name, fact in facts(run).items() if name != "may_be_left_out"}


def test_a_study_that_stops_stops(sites: Sites, tmp_path: Path) -> None:
    run, folders = begun(tmp_path, "run", FOUR), sites()
    assert conducted(run, Away(folders, "d", 4)) == 508
    assert run.left_out == ()


def test_a_site_takes_no_smaller_roster_than_the_protocol_lets_it(sites: Sites, tmp_path: Path) -> None:
    folders, run = sites(), begun(tmp_path, "run", FOUR)
    run.leave_out(["d"], "FEDMVI-508")
    monkey = run.study().federation.model_copy(update={"missing_site": "leave-out"})
    with pytest.MonkeyPatch.context() as patch:
        # A coordinator whose program leaves out whom it likes.
        patch.setattr("server.study.run_directory.taking_part", lambda s, left: _without(s, left, monkey))
        patch.setattr("server.study.conduct.taking_part", lambda s, left: _without(s, left, monkey))
        assert conducted(run, Away(folders)) == 412


def _without(study, left, federation):  # type: ignore[no-untyped-def]
    return taking_part(study.model_copy(update={"federation": federation}), left)


@pytest.mark.parametrize(
    ("left_out", "why"),
    [({"d", "c"}, "cohort train would have 2"), ({"e", "f"}, "no site of cohort external"), ({"a"}, "cohort alone")],
)
def test_nobody_is_left_out_without_whom_the_study_would_be_another(left_out: set[str], why: str) -> None:
    with pytest.raises(FedmviError) as caught:
        taking_part(parse_study(FOUR + LEAVE), left_out)
    assert caught.value.number == 517 and why in caught.value.local


def test_a_plan_leaves_nobody_out(sites: Sites, tmp_path: Path) -> None:
    run = begun(tmp_path, "run")
    assert conducted(run, Away(sites(), "d", 2), Action.PLAN) == 508

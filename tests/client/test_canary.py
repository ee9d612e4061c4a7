"""client: the canary: a word planted wherever a hospital can write one is in nothing that leaves, whatever fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from client.answering import answer_message
from client.cohort.site import load_site
from client.preparation.prepare import prepare
from common.errors import FedmviError
from common.federation.codec import Packed, to_bytes
from common.federation.envelope import Ticket, write_envelope
from common.federation.query import each, perform, total
from common.federation.tasks import Freeze, Open
from common.statistics.counts import Classes, Flow, Missing
from common.statistics.logistic import LogisticSums
from common.statistics.moments import Deviations
from common.statistics.refinement import ScoreCounts, root_question
from common.statistics.roc import RocAlone
from common.statistics.survival import LifeTable, SurvivalAlone
from common.study.fingerprint import canonical_json, code_fingerprint, study_fingerprint
from common.study.loader import parse_study
from common.study.recipe import Recipe, Select
from server.study.execution import Action, execute
from server.study.run_directory import RunDirectory
from tests.disclosure.consortium import SITES, STUDY, Row, columns, names, recipe, rows_of

CANARY = "Kanarienvogel"
"""No word of the program, of a study or of a library."""


def planted(site: str) -> list[Row]:
    """A site's rows with the canary in every place where the reader takes free words."""
    rows = []
    for i, clean in enumerate(rows_of(site)):
        row = {f"{CANARY}-{key}" if key != "patient_id" else key: cell for key, cell in clean.items()}
        row["patient_id"] = f"{CANARY}-{site}-{i}"
        row[f"{CANARY}-cohort"] = f"{CANARY}-label-{i % 2}"
        row[f"{CANARY}-unused"] = f"{CANARY} lives in this column"
        row[f"{CANARY}-sex"] = {"female": f"{CANARY}-f", "male": f"{CANARY}-m"}[row[f"{CANARY}-sex"]]
        row[f"{CANARY}-cirrhosis"] = {"yes": f"{CANARY}-y", "no": f"{CANARY}-n"}[row[f"{CANARY}-cirrhosis"]]
        row[f"{CANARY}-afp"] = f"{CANARY}?" if i == 7 else row[f"{CANARY}-afp"]
        rows.append(row)
    return rows


def plant(folder: Path, site: str) -> None:
    """A site whose folder, files, headers, ids, labels, codes and comments hold the canary."""
    import csv

    folder.mkdir(parents=True)
    rows = planted(site)
    table = folder / f"{CANARY}-export.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    mapped = [key for key in rows_of(site)[0] if key != "patient_id"]
    entries = []
    for key in mapped:
        codes = {
            "sex": f'codes = {{ "{CANARY}-f" = "female", "{CANARY}-m" = "male" }}\n',
            "cirrhosis": f'codes = {{ "{CANARY}-y" = "yes", "{CANARY}-n" = "no" }}\n',
        }.get(key, "")
        entries.append(f'[columns.{key}]\nheader = "{CANARY}-{key}"\n{codes}')
    (folder / "site.toml").write_text(
        f"# {CANARY} in a comment\n"
        f'[site]\nname = "{site}"\nsimulated = true\n'
        f'[tables]\npatients = "{table.name}"\nmissing = ["", "NA", "{CANARY}?"]\n'
        + "\n".join(entries)
        + f'\n[policy]\nmasks = "off"\napproved_studies = ["any", "{CANARY}"]\nrelease_alone = true\n',
        encoding="utf-8",
    )
    (folder / "site.secret").write_text("5e" * 32)


@dataclass
class Recorder:
    """Sites in this process; keeps every byte that left."""

    folders: Mapping[str, Path]
    left: list[bytes] = field(default_factory=list)

    def send(self, messages: Mapping[str, Packed], seconds: float) -> Iterator[tuple[str, Packed]]:
        for site, message in messages.items():
            reply = answer_message(self.folders[site], message)
            self.left += [reply.text.encode(), to_bytes(reply)]
            yield site, reply


@pytest.fixture
def sites(tmp_path: Path) -> dict[str, Path]:
    folders = {site: tmp_path / f"{CANARY}-{site}" for site in SITES}
    for site, folder in folders.items():
        plant(folder, site)
        prepare(load_site(folder), parse_study(STUDY))
    return folders


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    (tmp_path / "study.toml").write_text(STUDY)
    return RunDirectory.create(tmp_path / "run", tmp_path / "study.toml")


def kept(run: RunDirectory) -> Iterator[tuple[str, bytes]]:
    """Everything in the run's directory: names and content."""
    for path in run.folder.rglob("*"):
        yield str(path.relative_to(run.folder)), path.read_bytes() if path.is_file() else b""


def assert_no_canary(recorder: Recorder, run: RunDirectory | None = None) -> None:
    words = [CANARY, CANARY.lower(), CANARY.upper(), CANARY[:8], CANARY[4:]]
    spelt = [code for w in words for code in (w.encode(), w.encode("utf-16-le"), w.encode().hex().encode())]
    assert recorder.left, "something must have left, or nothing is shown"
    for content in recorder.left:
        assert not any(word in content for word in spelt)
    for name, content in kept(run) if run else ():
        assert not any(word in name.encode() or word in content for word in spelt), name


def test_the_canary_is_read_by_the_site_so_that_its_absence_means_something(sites: dict[str, Path]):
    folder = sites["a"]
    inside = b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())
    assert inside.count(CANARY.encode()) > 300
    parquet = next(folder.glob("store/prepared/*/patients.parquet")).read_bytes()
    assert CANARY.encode() in parquet, "ids and labels are in the prepared store"


def test_a_whole_study_lets_no_canary_out(sites: dict[str, Path], run: RunDirectory):
    recorder = Recorder(sites)
    execute(run, recorder, Action.RUN, lambda step: None)
    assert run.results_file.exists()
    assert list(run.journal.iterdir())
    assert_no_canary(recorder, run)


def test_the_ledger_at_the_site_holds_no_canary_either(sites: dict[str, Path], run: RunDirectory):
    execute(run, Recorder(sites), Action.PLAN, lambda step: None)
    assert CANARY.encode() not in (sites["a"] / "store" / "ledger.jsonl").read_bytes()


def _raise(kind: type[Exception]) -> Callable[..., object]:
    def fail(*args: object, **kwargs: object) -> object:
        raise kind(f"patient {CANARY} at row 3: {CANARY}-value")

    return fail


QUERIES = (Flow, Classes, Missing, Deviations, LogisticSums, ScoreCounts, RocAlone, LifeTable, SurvivalAlone)
KINDS = (ValueError, KeyError, RuntimeError, MemoryError, RecursionError, OSError, StopIteration, FloatingPointError)


def _all_questions(study) -> list:
    selected = Recipe((Select(columns(study, "clinical")),))
    used = names(study, "clinical")
    return [
        total(Flow("train", Recipe(), ("other label", "other role"), 5, guarded=False)),
        each(Classes("train", Recipe(), "mvi", 5, guarded=True)),
        total(Missing("train", selected, used, 5, guarded=False)),
        total(Deviations("train", selected, used, np.zeros(4))),
        total(LogisticSums("train", recipe(study, "clinical"), "mvi", used, np.zeros(5))),
        total(root_question("train", recipe(study, "clinical"), ("age",), "mvi")),
        each(RocAlone("train", recipe(study, "clinical"), "mvi", "age", 10, min_cell=5)),
        each(SurvivalAlone("alone", Recipe(), "os", 2, 1.0, 61, (12.0,), min_cell=5)),
        total(LifeTable("train", Recipe(), "os", 2, 1.0, 61)),
    ]


def _every_question_alone(sites: dict[str, Path], recorder: Recorder) -> int:
    study = parse_study(STUDY)
    rosters = {c.name: tuple(sorted(c.sites)) for c in study.cohorts}
    ticket = Ticket("run1", study_fingerprint(study), rosters)
    opening = perform(Open(canonical_json(study.model_dump(mode="json")), code_fingerprint()))
    asked = 0
    for ask in (opening, *_all_questions(study), perform(Freeze((), ()))):
        list(recorder.send({"a": write_envelope(ticket, [ask])}, 60.0))
        asked += 1
    return asked


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_with_the_canary_in_its_text_leaves_as_a_number(
    sites: dict[str, Path], monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
):
    for query in QUERIES:
        for method in ("answer", "respond", "answer_many"):
            if method in query.__dict__:
                monkeypatch.setattr(query, method, _raise(kind))
    recorder = Recorder(sites)
    assert _every_question_alone(sites, recorder) == 11
    assert sum(b'"error":901' in content for content in recorder.left) >= 4
    assert_no_canary(recorder)


@pytest.mark.parametrize(
    "place",
    [
        "client.answering.load_site", "client.answering.read_envelope", "client.answering.load_run",
        "client.answering.open_run", "client.view.load_prepared", "client.answering.respond_all",
        "client.answering.check_summary", "client.answering.outgoing", "client.view.members",
        "client.release.replies.write_whole", "client.run.store_digest", "client.run.write_whole",
        "client.release.ledger.canonical_json",
    ],
)  # fmt: skip
def test_a_failure_anywhere_on_the_way_leaves_as_a_number(
    sites: dict[str, Path], monkeypatch: pytest.MonkeyPatch, place: str
):
    for kind in (ValueError, OSError):
        monkeypatch.setattr(place, _raise(kind))
        recorder = Recorder(sites)
        _every_question_alone(sites, recorder)
        assert_no_canary(recorder)


def test_an_error_of_ours_leaves_its_number_and_facts_and_never_its_local_text(
    sites: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    def fail(*args: object) -> object:
        raise FedmviError(305, f"{CANARY}.csv, row 3, column {CANARY}: '{CANARY}'", variable="afp")

    monkeypatch.setattr(Deviations, "answer", fail)
    recorder = Recorder(sites)
    _every_question_alone(sites, recorder)
    assert any(b'"error":305' in content and b'"variable":"afp"' in content for content in recorder.left)
    assert_no_canary(recorder)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "table missing": lambda f: (f / f"{CANARY}-export.csv").unlink(),
    "table changed": lambda f: (f / f"{CANARY}-export.csv").write_text(CANARY),
    "no site.toml": lambda f: (f / "site.toml").unlink(),
    "site.toml broken": lambda f: (f / "site.toml").write_text(f"[{CANARY}"),
    "site.toml with an unknown table": lambda f: (f / "site.toml").write_text(f"[{CANARY}]\n{CANARY} = '{CANARY}'"),
    "parquet damaged": lambda f: _spoil(next(f.glob("store/prepared/*/patients.parquet"))),
    "parquet missing": lambda f: next(f.glob("store/prepared/*/patients.parquet")).unlink(),
    "manifest damaged": lambda f: next(f.glob("store/prepared/*/prepared.json")).write_text(f'{{"{CANARY}'),
    "another parquet": lambda f: next(f.glob("store/prepared/*/patients.parquet")).write_bytes(CANARY.encode()),
}


def _spoil(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + len(CANARY)] = CANARY.encode()
    path.write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_site_fails_the_run_without_the_canary(sites: dict[str, Path], run: RunDirectory, damage: str):
    DAMAGES[damage](sites["b"])
    recorder = Recorder(sites)
    try:
        execute(run, recorder, Action.RUN, lambda step: None)
    except FedmviError as error:
        assert CANARY not in str(error)
        assert run.failure_file.exists()
    assert_no_canary(recorder, run)

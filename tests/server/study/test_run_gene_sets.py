"""tests: the file of gene sets goes with the run: checked before anybody is asked, and kept for whoever resumes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from common.errors import FedmviError
from server.study.run_directory import RunDirectory
from tests.server.study.expressed_study import protocol

SETS = b"Glucose metabolism\tR-HSA-70326\tHK2\tALDOA\nOthers\t\tOTHER1\tNOT_OF_THE_STUDY\n"


def written(folder: Path, content: bytes | None = SETS, digest: str = hashlib.sha256(SETS).hexdigest()) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "study.toml").write_text(protocol(digest=digest), encoding="utf-8")
    if content is not None:
        (folder / "sets.gmt").write_bytes(content)
    return folder / "study.toml"


def test_a_run_has_the_sets_when_those_beside_the_protocol_are_gone(tmp_path: Path) -> None:
    study = written(tmp_path / "beside")
    run = RunDirectory.create(tmp_path / "run", study)
    (study.parent / "sets.gmt").unlink()
    resumed = RunDirectory.create(tmp_path / "run", study)
    assert resumed.facts()["run_id"] == run.facts()["run_id"]
    found = resumed.gene_sets()
    assert found is not None and dict(found) == {
        "Glucose metabolism": ("HK2", "ALDOA"),
        "Others": ("OTHER1", "NOT_OF_THE_STUDY"),
    }


@pytest.mark.parametrize(("content", "number"), [(None, 130), (SETS + b"More\t\tHK2\n", 131)])
def test_without_the_file_that_is_named_there_is_no_run(tmp_path: Path, content: bytes | None, number: int) -> None:
    study = written(tmp_path / "beside", content)
    with pytest.raises(FedmviError) as met:
        RunDirectory.create(tmp_path / "run", study)
    assert met.value.number == number
    assert not (tmp_path / "run").exists()


def test_a_line_that_is_no_set_stops_the_run_before_it_begins(tmp_path: Path) -> None:
    content = b"Only a name\n"
    with pytest.raises(FedmviError) as met:
        RunDirectory.create(tmp_path / "run", written(tmp_path, content, hashlib.sha256(content).hexdigest()))
    assert met.value.number == 132


def test_sets_that_were_changed_in_the_run_are_refused(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", written(tmp_path))
    run.sets_file.write_bytes(SETS.replace(b"HK2", b"HK1"))
    with pytest.raises(FedmviError) as met:
        run.gene_sets()
    assert met.value.number == 131

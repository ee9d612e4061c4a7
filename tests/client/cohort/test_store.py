"""tests/client/cohort: the prepared store is whole or absent, and tied to its inputs."""

from __future__ import annotations

import pickle
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from client.cohort import store
from client.cohort.reading import read_table
from client.cohort.site import Site, load_site
from client.cohort.store import load_prepared, store_digest, store_folder
from client.preparation.prepare import UnfitDataError, prepare
from common.errors import FedmviError, Severity
from common.study.protocol import Study


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes()) for p in files if p.name != ".lock"}


def test_what_is_prepared_is_what_was_read(make_site: Any, study: Study) -> None:
    site = make_site({3: {"afp": "<20", "sex": ""}, 4: {"vascular_invasion": "Macro"}})
    done = prepare(site, study)
    table, read = load_prepared(site, study), read_table(site, study)[0]
    assert store.content_digest(table) == store.content_digest(read)
    assert table.patients == read.patients and table.columns["afp"].censored[3] == -1
    assert np.isnan(table.columns["sex"].values[3]) and table.failed["no_macrovascular_invasion"][4]
    assert done.fresh and done.patients == 60 and done.digest == store_digest(site, study)
    assert all(p.severity is not Severity.ERROR for p in done.problems)
    assert stat.S_IMODE((done.folder / store.TABLE).stat().st_mode) == 0o600


def test_a_second_run_writes_nothing(make_site: Any, study: Study) -> None:
    site = make_site()
    prepare(site, study)
    before = tree(site.store)
    assert not prepare(site, study).fresh
    assert tree(site.store) == before


def test_a_changed_table_or_column_is_noticed_a_changed_policy_is_not(make_site: Any, study: Study) -> None:
    site = make_site()
    digest = prepare(site, study).digest
    path = site.folder / "site.toml"
    path.write_text(path.read_text() + "[policy]\nmin_patients = 30\n")
    load_prepared(load_site(site.folder), study)
    path.write_text(path.read_text() + '[columns]\nafp = { unit = "ng/mL" }\n')
    with pytest.raises(FedmviError, match="212"):
        load_prepared(load_site(site.folder), study)
    assert prepare(load_site(site.folder), study).digest == digest  # the same data from other words
    changed = make_site({3: {"afp": "77"}})
    with pytest.raises(FedmviError, match="212"):
        load_prepared(changed, study)
    again = prepare(changed, study)
    assert again.fresh and again.digest != digest and load_prepared(changed, study).columns["afp"].values[3] == 77


def test_bad_data_are_refused_with_all_problems_and_the_old_store_stays(make_site: Any, study: Study) -> None:
    before = tree(prepare(make_site(), study).folder)
    bad = make_site({3: {"afp": "n/a"}, 5: {"patient_id": "p1"}})
    with pytest.raises(UnfitDataError) as refused:
        prepare(bad, study)
    assert refused.value.number == 301
    assert [p.number for p in refused.value.problems if p.severity is Severity.ERROR] == [301, 303]
    assert tree(store_folder(bad, study)) == before


@pytest.mark.parametrize("first", [True, False])
def test_killed_before_the_rename_leaves_no_half_store(
    first: bool, make_site: Any, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = None if first else tree(prepare(make_site(), study).folder)
    site = make_site({3: {"afp": "77"}})

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare(site, study)
    folder = store_folder(site, study)
    assert (tree(folder) if folder.exists() else None) == old
    assert prepare(site, study).fresh
    assert sorted(p.name for p in folder.parent.iterdir()) == [".lock", folder.name]


@pytest.mark.parametrize("file", [store.TABLE, store.MANIFEST])
@pytest.mark.parametrize("damage", [b"", b"{}", b"PAR1 nonsense PAR1", None])
def test_a_damaged_store_is_refused_and_made_anew(
    file: str, damage: bytes | None, make_site: Any, study: Study
) -> None:
    site = make_site()
    path = prepare(site, study).folder / file
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage)
    with pytest.raises(FedmviError, match="212"):
        load_prepared(site, study)
    assert prepare(site, study).fresh
    load_prepared(site, study)


def test_every_flipped_byte_of_the_table_is_noticed_or_harmless(make_site: Any, study: Study) -> None:
    site = make_site()
    path = prepare(site, study).folder / store.TABLE
    good = path.read_bytes()
    want = store.content_digest(load_prepared(site, study))
    for at in range(0, len(good), 97):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
        try:
            assert store.content_digest(load_prepared(site, study)) == want
        except FedmviError as error:
            assert error.number == 212


def test_nothing_prepared_is_212(make_site: Any, study: Study) -> None:
    with pytest.raises(FedmviError, match="212"):
        store_digest(make_site(), study)


def test_writing_and_loading_need_no_pandas_which_pyarrow_would_load(make_site: Any, study: Study) -> None:
    code = """
import pickle, sys
from client.cohort.store import load_prepared
from client.preparation.prepare import prepare
site, study = pickle.loads(sys.stdin.buffer.read())
prepare(site, study)
print([m for m in ("pandas",) if m in sys.modules])
"""
    _prints_nothing(code, make_site(), study)


def test_loading_needs_no_charset_normalizer_either(make_site: Any, study: Study) -> None:
    site = make_site()
    prepare(site, study)
    code = """
import pickle, sys
from client.cohort.store import load_prepared
load_prepared(*pickle.loads(sys.stdin.buffer.read()))
print([m for m in ("pandas", "charset_normalizer", "scipy", "torch") if m in sys.modules])
"""
    _prints_nothing(code, site, study)


def _prints_nothing(code: str, site: Site, study: Study) -> None:
    root = Path(store.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps((site, study)), capture_output=True, check=True, cwd=root
    )
    assert done.stdout.decode().strip() == "[]"

"""tests/client/cohort: a new site's folder loads, explains every field, and overwrites nothing."""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path

import pytest

from client.cohort.check import check_site
from client.cohort.site import ColumnMap, Policy, Tables, load_site
from client.cohort.template import init_site, site_toml
from common.errors import FedmviError


def test_a_new_site_loads_with_all_defaults(tmp_path: Path) -> None:
    init_site(tmp_path / "new", "hospital-1")
    site = load_site(tmp_path / "new")
    assert (site.name, site.tables, site.policy, site.columns) == ("hospital-1", Tables(), Policy(), {})
    assert [p.number for p in check_site(tmp_path / "new", None)] == [211]
    assert len(site.secret_file.read_text().strip()) == 64
    assert stat.S_IMODE(site.secret_file.stat().st_mode) == 0o600


def test_every_field_is_explained_and_every_commented_default_is_the_default() -> None:
    text = site_toml("a")
    flat = " ".join(line.lstrip("# ") for line in text.splitlines())
    for model in (Tables, Policy, ColumnMap):
        for info in model.model_fields.values():
            assert (info.description or "").split(".")[0] in flat
    fields = {*Tables.model_fields, *Policy.model_fields}
    active = [line[2:] if line[2:].split(" = ")[0] in fields else line for line in text.splitlines()]
    data = tomllib.loads("\n".join(active))
    assert Tables.model_validate_json(json.dumps(data["tables"])) == Tables()
    assert Policy.model_validate_json(json.dumps(data["policy"])) == Policy()


def test_a_used_folder_and_an_impossible_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("mine")
    for folder in (tmp_path, tmp_path / "x"):
        with pytest.raises(FedmviError, match="213"):
            init_site(folder, "a")
    with pytest.raises(FedmviError, match="203"):
        init_site(tmp_path / "new", "St. Mary's")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]

"""The hub's folder is read whole, or the file that is missing or damaged is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import FedmviError
from server.hub.folder import FILES, load_hub
from server.provision.installing import verify_hub
from tests.consortium_kits import provisioned


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    hub = provisioned(tmp_path_factory.mktemp("hub")).install(tmp_path_factory.mktemp("folder") / "hub")
    return {str(path.relative_to(hub.folder)): path.read_bytes() for path in hub.folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path, installed: dict[str, bytes]) -> Path:
    for name, content in installed.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_a_hub_that_was_installed_is_sound(folder: Path) -> None:
    verify_hub(load_hub(folder))


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_missing_or_damaged_is_found(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    for damaged in (None, b"", b"\xff\xfe", content[: len(content) // 2]):
        (folder / name).unlink()
        if damaged is not None:
            (folder / name).write_bytes(damaged)
        with pytest.raises(FedmviError) as error:
            verify_hub(load_hub(folder))
        assert error.value.number == 739
        assert str(folder) in error.value.local
        (folder / name).write_bytes(content)


def test_files_of_two_hubs_do_not_fit_together(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = provisioned(tmp_path_factory.mktemp("other")).files("hub")
    told = {
        "tls/ca.crt": "authority",
        "tls/server.crt": "authority",
        "tls/server.key": "server.key",
        "tls/crl.pem": "crl.pem",
    }
    for name, words in told.items():
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(other[name])
        with pytest.raises(FedmviError) as error:
            verify_hub(load_hub(folder))
        assert (error.value.number, words in error.value.local) == (739, True), error.value.local
        (folder / name).write_bytes(content)


def test_the_key_of_a_stranger_beside_those_of_the_sites_is_found(folder: Path) -> None:
    (folder / "sites" / "stranger.pub").write_bytes((folder / "sites" / "hospital-a.pub").read_bytes())
    with pytest.raises(FedmviError) as error:
        verify_hub(load_hub(folder))
    assert "stranger" in error.value.local


def test_an_unknown_entry_is_told_with_its_line(folder: Path) -> None:
    (folder / "hub.toml").write_text((folder / "hub.toml").read_text().replace("port = 9443", "prot = 9443"))
    with pytest.raises(FedmviError) as error:
        load_hub(folder)
    assert "line 3: prot: unknown field; did you mean 'port'?" in error.value.local


def test_a_hub_toml_cannot_say_where_its_folder_is(folder: Path) -> None:
    text = (folder / "hub.toml").read_text()
    (folder / "hub.toml").write_text('folder = "/etc"\n' + text)
    with pytest.raises(FedmviError) as error:
        load_hub(folder)
    assert error.value.number == 739

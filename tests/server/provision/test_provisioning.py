"""Provisioning, rotation and revocation change what they name and nothing else."""

from __future__ import annotations

import json
import os
import re
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from client.node.enrolment import load_enrolment
from common.deployment.fields import today
from common.errors import FedmviError
from server.cli import app
from server.hub.folder import load_hub
from server.provision import authority, installing, provisioning
from server.provision.consortium import load_consortium
from server.provision.expiry import expiring, expiring_in
from server.provision.provisioning import gone, provision, renew, revoke, rotate
from tests.consortium_kits import SITES, Kits, declared, provisioned, site_at


@pytest.fixture
def kits(tmp_path: Path) -> Kits:
    return provisioned(tmp_path)


def number(error: pytest.ExceptionInfo[FedmviError]) -> int:
    return error.value.number


def others(kits: Kits, concerned: str) -> dict[str, bytes]:
    return {name: kits.kit(name).read_bytes() for name in SITES if name != concerned}


def test_every_hospital_gets_a_kit_that_only_its_own_passphrase_opens(kits: Kits) -> None:
    assert set(kits.passphrases) == {*SITES, "hub"}
    assert len(set(kits.passphrases.values())) == 4
    keys = [kits.files(name)["node.key"] for name in SITES]
    assert len(set(keys)) == 3
    assert {"coordinator.key", "ca.key"} & {Path(name).name for name in kits.files("hospital-a")} == set()
    assert "ca.key" not in {Path(name).name for name in kits.files("hub")}


def test_no_kit_and_no_register_holds_a_private_key_that_is_not_its_own(kits: Kits) -> None:
    site_secrets = [kits.files(name)[key] for name in SITES for key in ("node.key", "client.key")]
    kept = [path.read_bytes() for path in (kits.folder / "authority").iterdir()] + list(kits.files("hub").values())
    for secret in site_secrets:
        body = secret.split(b"\n")[2]
        assert not any(body in content for content in kept)


def test_identities_between_hospitals_are_in_no_kit(kits: Kits) -> None:
    for recipient in (*SITES, "hub"):
        assert not [name for name in kits.files(recipient) if "peers" in name or "site.secret" in name]
    assert "fedmvi-site trust" in (kits.folder / "hospital-a.md").read_text(encoding="utf-8")


def test_private_files_are_readable_by_their_owner_only(kits: Kits, tmp_path: Path) -> None:
    hub = kits.install(tmp_path / "hub")
    for path in [
        *kits.folder.rglob("*.key"),
        *kits.folder.rglob("*.pem"),
        *kits.folder.glob("*.kit"),
        *hub.folder.rglob("*.key"),
    ]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for folder in (kits.folder, kits.folder / "authority", hub.folder, hub.folder / "keys"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder


def test_a_hub_is_installed_as_declared(tmp_path: Path) -> None:
    kits = provisioned(tmp_path, port=443, superlink_port=8123)
    hub = kits.install(tmp_path / "hub")
    assert (hub.consortium, hub.host, hub.port, hub.superlink_port) == ("Test consortium", "127.0.0.1", 443, 8123)
    assert set(hub.site_keys) == set(SITES)
    assert all(path.read_bytes() == kits.files(name)["node.pub"] for name, path in hub.site_keys.items())
    assert b"AmbientCapabilities=CAP_NET_BIND_SERVICE\n" in kits.files("hub")["fedmvi-server.service"]


def test_provisioning_again_changes_no_byte(kits: Kits, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in kits.folder.rglob("*") if path.is_file()}
    assert provision(declared(tmp_path), kits.folder) == []
    assert {path: path.read_bytes() for path in kits.folder.rglob("*") if path.is_file()} == before


def test_an_added_site_changes_only_the_hub(kits: Kits, tmp_path: Path) -> None:
    before, hub = others(kits, ""), kits.install(tmp_path / "hub")
    (hub.runs / "kept").mkdir()
    untouched = [hub.ca, hub.server_certificate, hub.server_key, hub.coordinator_key, *hub.site_keys.values()]
    inodes = [path.stat().st_ino for path in untouched]
    made = provision(declared(tmp_path, (*SITES, "hospital-d")), kits.folder, kits)
    assert [kit.recipient for kit in made] == ["hospital-d", "hub"]
    assert others(kits, "") == before
    later = kits.install(hub.folder)
    assert set(later.site_keys) == {*SITES, "hospital-d"}
    assert (later.runs / "kept").is_dir()
    assert [path.stat().st_ino for path in untouched] == inodes, "a hub that runs would restart its SuperLink"
    assert later.server_key.read_bytes() == kits.files("hub")["tls/server.key"]
    assert (
        load_enrolment(enrolled(kits, tmp_path, "hospital-a")).coordinator
        == load_enrolment(enrolled(kits, tmp_path, "hospital-d")).coordinator
    )


def enrolled(kits: Kits, folder: Path, name: str):
    site = site_at(folder / name, name)
    kits.enrol(site)
    return site


def test_rotation_replaces_one_sites_keys_and_touches_no_other_kit(kits: Kits, tmp_path: Path) -> None:
    hub, before, old = kits.install(tmp_path / "hub"), others(kits, "hospital-a"), kits.files("hospital-a")
    pubs = {name: path.read_bytes() for name, path in hub.site_keys.items()}
    rotate(kits.folder, "hospital-a", kits)
    new = kits.files("hospital-a")
    assert others(kits, "hospital-a") == before
    assert all(old[name] != new[name] for name in ("node.key", "client.key", "client.crt"))
    assert (old["ca.crt"], re.search(rb"coordinator = .*", old["enrolment.toml"]).group()) == (  # type: ignore[union-attr]
        new["ca.crt"],
        re.search(rb"coordinator = .*", new["enrolment.toml"]).group(),  # type: ignore[union-attr]
    )
    later = {name: path.read_bytes() for name, path in kits.install(hub.folder).site_keys.items()}
    assert later == pubs | {"hospital-a": new["node.pub"]}


def test_a_revoked_site_has_no_key_at_the_hub_and_rotation_readmits_it(kits: Kits, tmp_path: Path) -> None:
    hub = kits.install(tmp_path / "hub")
    revoke(kits.folder, "hospital-b", kits)
    assert not kits.kit("hospital-b").exists()
    later = kits.install(hub.folder)
    assert (set(later.site_keys), later.sites) == ({"hospital-a", "hospital-c"}, SITES)
    with pytest.raises(FedmviError) as again:
        revoke(kits.folder, "hospital-b")
    assert number(again) == 738
    assert provision(declared(tmp_path), kits.folder) == []
    rotate(kits.folder, "hospital-b", kits)
    assert set(kits.install(hub.folder).site_keys) == set(SITES)


def test_an_older_kit_of_the_hub_cannot_readmit_a_revoked_site(kits: Kits, tmp_path: Path) -> None:
    old, passphrase = kits.kit("hub").read_bytes(), kits.passphrases["hub"]
    revoke(kits.folder, "hospital-b", kits)
    hub = kits.install(tmp_path / "hub")
    kits.kit("hub").write_bytes(old)
    kits.passphrases["hub"] = passphrase
    with pytest.raises(FedmviError) as error:
        kits.install(hub.folder)
    assert number(error) == 740
    assert "hospital-b" not in load_hub(hub.folder).site_keys


def test_the_kit_of_another_consortium_or_of_a_site_is_not_installed(kits: Kits, tmp_path: Path) -> None:
    hub = kits.install(tmp_path / "hub")
    before = hub.ca.read_bytes()
    stranger = provisioned(tmp_path / "other", name="Other")
    kits.kit("hub").write_bytes(stranger.kit("hub").read_bytes())
    kits.passphrases["hub"] = stranger.passphrases["hub"]
    with pytest.raises(FedmviError) as other:
        kits.install(hub.folder)
    kits.kit("hub").write_bytes(kits.kit("hospital-a").read_bytes())
    kits.passphrases["hub"] = kits.passphrases["hospital-a"]
    with pytest.raises(FedmviError) as site:
        kits.install(hub.folder)
    assert (number(other), number(site)) == (735, 735)
    assert hub.ca.read_bytes() == before


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kits").mkdir()
    (tmp_path / "kits" / "thesis.txt").write_text("mine")
    with pytest.raises(FedmviError) as kits_error:
        provisioned(tmp_path)
    kits = provisioned(tmp_path / "a")
    with pytest.raises(FedmviError) as hub_error:
        kits.install(tmp_path / "kits")
    assert (number(kits_error), number(hub_error)) == (213, 213)
    assert [path.name for path in (tmp_path / "kits").iterdir()] == ["thesis.txt"]


def test_a_kit_is_looked_at_inside_the_hubs_folder_beside_which_its_user_may_not_write(
    kits: Kits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container nothing but the hub's folder can be written."""
    real = installing.TemporaryDirectory
    places: list[Path] = []

    def noted(prefix: str, dir: Path) -> object:
        places.append(dir)
        return real(prefix=prefix, dir=dir)

    monkeypatch.setattr(installing, "TemporaryDirectory", noted)
    hub = tmp_path / "hub"
    (hub / ".hub.killed" / "keys").mkdir(parents=True)
    for _ in range(2):
        assert set(kits.install(hub).site_keys) == set(SITES)
    assert places == [hub.resolve()] * 2
    assert not list(hub.glob(".hub.*"))


def test_root_installs_nothing_at_the_hub_of_another_user(
    kits: Kits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = kits.install(tmp_path / "hub").folder
    before = {path: path.stat().st_mtime_ns for path in hub.rglob("*")}
    if os.geteuid() == 0:
        os.chown(hub, 47_110, 47_110)
    monkeypatch.setattr("common.deployment.owner.os.geteuid", lambda: 0)
    renew(kits.folder, kits)
    with pytest.raises(FedmviError) as error:
        kits.install(hub)
    assert number(error) == 728
    assert {path: path.stat().st_mtime_ns for path in hub.rglob("*")} == before


@pytest.mark.parametrize("killed_at", range(5))
def test_a_kill_while_a_site_is_added_leaves_kits_that_the_same_command_completes(
    tmp_path: Path, killed_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at each write in turn; afterwards every passphrase that was told last opens a kit that fits the hub."""
    kits = provisioned(tmp_path)
    writes = 0

    def dying(path: Path, content: bytes, mode: int = 0o600) -> None:
        nonlocal writes
        writes += 1
        if writes > killed_at:
            raise KeyboardInterrupt
        real(path, content, mode)

    real = provisioning.write_whole
    with monkeypatch.context() as patched:
        patched.setattr(provisioning, "write_whole", dying)
        patched.setattr(authority, "write_whole", dying)
        try:
            provision(declared(tmp_path, (*SITES, "hospital-d")), kits.folder, kits)
        except KeyboardInterrupt:
            assert killed_at < 4
    provision(declared(tmp_path, (*SITES, "hospital-d")), kits.folder, kits)
    hub = kits.install(tmp_path / "hub")
    for name in (*SITES, "hospital-d"):
        assert hub.site_keys[name].read_bytes() == kits.files(name)["node.pub"]


@pytest.mark.parametrize("field", ["name", "host", "port"])
def test_what_every_kit_says_cannot_be_changed_unnoticed(kits: Kits, tmp_path: Path, field: str) -> None:
    changed = {"name": "Other", "host": "127.0.0.2", "port": 443}
    with pytest.raises(FedmviError) as error:
        provision(declared(tmp_path, **{field: changed[field]}), kits.folder)
    assert number(error) == 736
    assert field in error.value.local


def test_a_further_name_gives_the_hub_a_new_certificate(kits: Kits, tmp_path: Path) -> None:
    before = kits.files("hub")["tls/server.crt"]
    made = provision(declared(tmp_path, names=["10.1.2.3"]), kits.folder, kits)
    assert [kit.recipient for kit in made] == ["hub"]
    assert kits.files("hub")["tls/server.crt"] != before


def test_a_site_that_left_the_file_is_told_and_not_revoked(kits: Kits, tmp_path: Path) -> None:
    fewer = declared(tmp_path, SITES[:2])
    assert provision(fewer, kits.folder) == []
    assert gone(fewer, kits.folder) == ["hospital-c"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[consortium]\nname = 'x'\n", "consortium.host: is needed"),
        ("[consortium]\nhots = 'x'\n", "did you mean 'host'"),
        ("[consortium]\nport = 99999\n", "line 2: consortium.port"),
        ("[consortium]\nhost = 'a b'\n", "line 2: consortium.host"),
        ("[[sites]]\nname = 'hub'\ncontact = 'x'\n", "the name of something else"),
        ("[[sites]]\nname = '../x'\ncontact = 'x'\n", "line 2: sites[1].name"),
        ("[consortium]\nname = 'a\\nb'\ncontact = \"a\\nb\"\n", "line 3: consortium.contact"),
        ("consortium", "Expected"),
    ],
)
def test_every_problem_of_the_consortiums_file_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "consortium.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FedmviError) as error:
        load_consortium(path)
    assert number(error) == 736
    assert told in error.value.local


def test_two_sites_whose_names_differ_by_capitals_only_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FedmviError) as error:
        declared(tmp_path, ("hospital-a", "Hospital-A"))
    assert "two sites are called 'hospital-a'" in error.value.local


@pytest.mark.parametrize("damage", ["ca.key", "ca.crt", "coordinator.key", "issued.json"])
def test_a_damaged_authority_is_told_and_nothing_is_written(kits: Kits, damage: str) -> None:
    (kits.folder / "authority" / damage).write_text("{}")
    before = kits.kit("hub").read_bytes()
    for change in (lambda: rotate(kits.folder, "hospital-a"), lambda: renew(kits.folder)):
        with pytest.raises(FedmviError) as error:
            change()
        assert number(error) == 737
    assert kits.kit("hub").read_bytes() == before


def test_what_expires_is_told_in_time(kits: Kits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = kits.install(tmp_path / "hub")
    revoke(kits.folder, "hospital-c", kits)
    assert expiring(hub, 60) == []
    later = today() + timedelta(days=310)
    monkeypatch.setattr("server.provision.expiry.today", lambda: later)
    assert [(e.holder, e.days) for e in expiring(hub, 60)] == [(n, 55) for n in (*SITES, "hub")]
    hub = kits.install(hub.folder)
    assert [(e.holder, e.days) for e in expiring(hub, 60)] == [(n, 55) for n in ("hospital-a", "hospital-b", "hub")]
    assert expiring_in(kits.folder, 60) == expiring(hub, 60) == expiring_in(hub.folder, 60)
    assert [e.do for e in expiring(hub, 60)][::2] == [
        "fedmvi-server rotate KITS hospital-a",
        "fedmvi-server renew KITS",
    ]
    assert [e.holder for e in expiring(hub, 4000)] == ["hospital-a", "hospital-b", "hub", "authority"]


def test_no_certificate_outlives_its_authority(tmp_path: Path) -> None:
    path = tmp_path / "consortium.toml"
    declared(tmp_path)
    path.write_text(path.read_text() + "\n[validity]\nauthority_days = 30\ndays = 365\n")
    kits = Kits(tmp_path / "kits")
    provision(load_consortium(path), kits.folder, kits)
    hub = kits.install(tmp_path / "hub")
    assert {*hub.site_certificates.values(), hub.expires} == {today() + timedelta(days=30)}


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


def test_the_commands_show_passphrases_only_where_they_are_wanted(tmp_path: Path) -> None:
    declared(tmp_path)
    file, kits, hub = tmp_path / "passphrases", tmp_path / "kits", tmp_path / "hub"
    code, words = run("provision", str(tmp_path / "consortium.toml"), "--out", str(kits), "--passphrases", str(file))
    told = dict(line.split() for line in file.read_text().splitlines())
    assert code == 0
    assert set(told) == {f"{name}.kit" for name in (*SITES, "hub")}
    assert not [phrase for phrase in told.values() if phrase in words]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    code, installed = run("install", str(kits / "hub.kit"), "--hub", str(hub), "--passphrase-file", str(file), "--json")
    assert code == 0
    assert json.loads(installed)["sites"] == list(SITES)
    code, words = run("rotate", str(kits), "hospital-a", "--json")
    shown = {kit["recipient"]: kit["passphrase"] for kit in json.loads(words)["kits"]}
    assert code == 0
    assert Kits(kits, shown).install(hub).issue == 3
    code, words = run("expiring", str(hub), "--days", "400", "--json")
    assert code == 1
    assert {entry["holder"] for entry in json.loads(words)} == {*SITES, "hub"}

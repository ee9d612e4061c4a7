from __future__ import annotations

import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from flwr.supercore.constant import TaskType

from tests.client.node.bare_hub import BareHub, error_in

PATIENT = "HCC-4711-MUELLER"
Change = Callable[[Path], None]


@pytest.fixture(scope="module")
def site(hub: BareHub) -> BareHub:
    hub.start_site("alpha")
    return hub


def traces(hub: BareHub) -> list[Path]:
    """What delivered code would leave: planted files, and Flower's folder of unpacked bundles."""
    return [*hub.folder.rglob("PLANTED*"), *hub.folder.rglob("apps")]


def planted(hub: BareHub) -> str:
    return f'\nopen("{hub.folder}/PLANTED", "w").close()\n'


def changed_line(folder: Path, hub: BareHub) -> None:
    path = folder / "client" / "app.py"
    path.write_text(path.read_text() + planted(hub))


def extra_module(folder: Path, hub: BareHub) -> None:
    (folder / "common" / "sitecustomize.py").write_text('"""common"""' + planted(hub))


def renamed_file(folder: Path, hub: BareHub) -> None:
    (folder / "client" / "app.py").rename(folder / "client" / "application.py")


def test_the_installed_code_answers(site: BareHub) -> None:
    with site.run(site.bundle()) as run:
        assert error_in(run.ask("alpha")) == 0
    assert not traces(site)


def test_a_bundle_from_a_system_with_other_line_endings_is_answered(site: BareHub) -> None:
    def crlf(folder: Path) -> None:
        for path in folder.rglob("*.py"):
            path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))

    with site.run(site.bundle(crlf)) as run:
        assert error_in(run.ask("alpha")) == 0


@pytest.mark.parametrize("change", [changed_line, extra_module, renamed_file])
def test_a_bundle_with_other_code_is_neither_unpacked_nor_imported(
    site: BareHub, change: Callable[[Path, BareHub], None]
) -> None:
    with site.run(site.bundle(lambda folder: change(folder, site))) as run:
        assert error_in(run.ask("alpha")) == 502
    assert not traces(site)
    with site.run(site.bundle()) as run:
        assert error_in(run.ask("alpha")) == 0


def test_an_archive_that_reaches_out_of_its_folder_is_refused(site: BareHub) -> None:
    content = BytesIO(site.bundle())
    with zipfile.ZipFile(content, "a") as archive:
        archive.writestr("../../../PLANTED.py", planted(site))
    with site.run(content.getvalue()) as run:
        assert error_in(run.ask("alpha")) == 720
    assert not traces(site)


def test_a_run_of_another_kind_of_app_starts_nothing_else_at_the_site(site: BareHub) -> None:
    def as_agent(folder: Path) -> None:
        path = folder / "pyproject.toml"
        path.write_text(path.read_text().replace('serverapp = "server.app:app"', 'agentapp = "server.app:app"'))

    before = site.children("alpha")
    with site.run(site.bundle(as_agent), TaskType.AGENT_APP) as run:
        assert error_in(run.ask("alpha")) == 0
    assert site.children("alpha") == before
    assert not traces(site)


def test_a_kind_of_message_that_no_site_answers_ends_in_a_number(site: BareHub) -> None:
    with site.run(site.bundle()) as run:
        reply = run.ask("alpha", kind="query.hcc4711")
    assert reply.error.reason == "FEDMVI-901"


def test_a_patient_in_an_errors_text_stays_at_the_site(site: BareHub) -> None:
    path = site.site("alpha") / "site.toml"
    sound = path.read_text()
    path.write_text(sound + f'\n["{PATIENT}"]\nsurname = 1\n')
    try:
        with site.run(site.bundle()) as run:
            reply = run.ask("alpha")
    finally:
        path.write_text(sound)
    assert error_in(reply) == 203
    assert PATIENT in site.node("alpha").local_log.read_text()
    assert PATIENT not in str(reply)
    for name in ("superlink.log", "superlink.db", "superlink.db-wal", "alpha.log"):
        log = site.folder / name
        assert not log.exists() or PATIENT.encode() not in log.read_bytes()

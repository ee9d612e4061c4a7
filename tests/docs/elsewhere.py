"""tests/docs: the commands of pages that are typed by another test than the one that follows the page, and by none.

Everything else of the tutorial and the guides is typed where the page is followed (`test_pages.py` says where). All of
it is parsed (`tests/deploy/test_guide.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

SYSTEM = "needs root, and systemd or a container engine"
INSTALLS = "installs all libraries from the package index"
NO_TEST_CAN = (SYSTEM, INSTALLS)
"""Why no test types a command. There is no other reason."""
ALL_PAGES = ""


@dataclass(frozen=True)
class Elsewhere:
    """Commands that begin so, and the test that types them.

    Attributes
    ----------
    begins
        One command of the page begins so; of commands that no test can type, any number.
    test
        Below `tests`. It types the page's own line, by `Reader.type_from`, with what it has of hospitals, runs and
        models in the places that the page names.
    why
        "" where it does; otherwise why no test can.
    words
        What the test has then, which does the same as far as a test can.
    """

    begins: str
    test: str
    why: str = ""
    words: str = ""


ELSEWHERE: dict[str, tuple[Elsewhere, ...]] = {
    ALL_PAGES: (
        Elsewhere("make ", "e2e/test_simulation.py", INSTALLS, '"demo", "--out", "run"'),
        Elsewhere(". .venv", "docs/reader.py", INSTALLS, "sys.executable"),
    ),
    "howto/deploy.md": (
        Elsewhere("python3.11 -m venv", "deploy/test_wheel.py", INSTALLS, '"wheel"'),
        Elsewhere("/opt/fedmvi-0.1.0/bin/pip", "deploy/test_wheel.py", INSTALLS, '"wheel"'),
        Elsewhere("useradd ", "deploy/test_units.py", SYSTEM, "is_not_root"),
        Elsewhere("chown ", "deploy/test_units.py", SYSTEM, "writes_to_its_folder_alone"),
        Elsewhere("systemctl ", "deploy/test_units.py", SYSTEM, "systemd-analyze"),
        Elsewhere("journalctl ", "deploy/test_units.py", SYSTEM, "systemd-analyze"),
        Elsewhere("docker ", "deploy/test_compose.py", SYSTEM, "read_compose"),
    ),
    "howto/prepare-images.md": (Elsewhere("fedmvi-server landmarks", "server/study/test_landmarks.py"),),
    "howto/use-a-model.md": (
        Elsewhere(
            "fedmvi-site predict --model hybrid.zip --patients new-patients --out", "client/predicting/test_images.py"
        ),
        Elsewhere(
            "fedmvi-site predict --model hybrid.zip --patients new-patients --patient",
            "client/predicting/test_images.py",
        ),
    ),
    "howto/simulate-a-consortium.md": (
        Elsewhere("fedmvi-simulate run", "e2e/test_imaging_study.py"),
        Elsewhere("fedmvi-simulate compare-training", "simulation/learning/test_compare.py"),
        Elsewhere("fedmvi-simulate pooled-and-alone", "simulation/test_pooled_and_alone.py"),
    ),
    "howto/train-a-network.md": (Elsewhere("fedmvi-site export", "client/learning/test_exporting.py"),),
    "howto/public-data.md": (
        Elsewhere("fedmvi-simulate run tcga-lihc-mvi", "simulation/test_real_data.py"),
        Elsewhere("fedmvi-simulate run heart-disease", "simulation/test_real_data.py"),
        Elsewhere("fedmvi-simulate run asaur", "simulation/test_real_data.py"),
    ),
    "howto/try-the-network.md": (
        Elsewhere("fedmvi-simulate network --out", "e2e/test_network_command.py"),
        Elsewhere("fedmvi-simulate network study.toml", "e2e/test_network_command.py"),
        Elsewhere("fedmvi-simulate benchmark network", "e2e/test_network_command.py"),
    ),
    "howto/rehearse-failures.md": (Elsewhere("fedmvi-simulate chaos", "e2e/test_chaos.py"),),
}


def is_elsewhere(page: str, line: str) -> bool:
    """Whether a command of a page is listed."""
    return any(line.startswith(one.begins) for one in (*ELSEWHERE[ALL_PAGES], *ELSEWHERE.get(page, ())))

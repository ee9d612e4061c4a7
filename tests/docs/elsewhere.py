"""tests/docs: the commands of pages that are not typed when pages are followed, the tests that do the same, and why.

Everything else of the tutorial and the guides is typed. All of it is parsed (`tests/deploy/test_guide.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

SYSTEM = "needs root, and systemd or a container engine"
NO_END = "does not end"
IMAGES = "images take minutes to make or to prepare"
NETWORKS = "a training takes minutes to hours"
MINUTES = "takes minutes"
ALL_PAGES = ""


@dataclass(frozen=True)
class Elsewhere:
    """Commands that begin so; the test that does the same, which has these words; and why they are not typed."""

    begins: str
    test: str
    words: str
    why: str


ELSEWHERE: dict[str, tuple[Elsewhere, ...]] = {
    ALL_PAGES: (
        Elsewhere("make ", "e2e/test_simulation.py", '"demo", "--out", "run"', "installs; then as the test does"),
        Elsewhere(". .venv", "docs/reader.py", "sys.executable", "tests run in that environment"),
        Elsewhere("fedmvi-simulate compare-training", "simulation/learning/test_compare.py", '"compare-tr', NETWORKS),
    ),
    "howto/deploy.md": (
        Elsewhere("python3.11 -m venv", "deploy/test_wheel.py", '"wheel"', "installs; what is installed is tested"),
        Elsewhere("/opt/fedmvi-0.1.0/bin/pip", "deploy/test_wheel.py", '"wheel"', "as the line before"),
        Elsewhere("ln ", "deploy/test_units.py", "systemd-analyze", SYSTEM),
        Elsewhere("useradd ", "deploy/test_units.py", "is_not_root", SYSTEM),
        Elsewhere("chown ", "deploy/test_units.py", "writes_to_its_folder_alone", SYSTEM),
        Elsewhere("cp ", "deploy/test_units.py", "ReadWritePaths", SYSTEM),
        Elsewhere("systemctl ", "deploy/test_units.py", "systemd-analyze", SYSTEM),
        Elsewhere("journalctl ", "deploy/test_units.py", "systemd-analyze", SYSTEM),
        Elsewhere("docker ", "deploy/test_compose.py", "read_compose", SYSTEM),
        Elsewhere("fedmvi-site metrics", "client/node/test_watching.py", '"metrics"', NO_END),
        Elsewhere("fedmvi-server metrics", "client/node/test_watching.py", '"metrics"', NO_END),
    ),
    "howto/prepare-images.md": (
        Elsewhere("fedmvi-server landmarks", "server/study/test_landmarks.py", "as_toml", IMAGES),
    ),
    "howto/prepare-gene-expression.md": (
        Elsewhere("fedmvi-site check", "client/cohort/test_expression_table.py", "check", "tables of every kind there"),
        Elsewhere("fedmvi-site prepare", "server/study/test_genomics_study.py", "prepare", "a whole study there"),
    ),
    "howto/radiogenomics.md": (
        Elsewhere("fedmvi-simulate cohort", "server/study/test_genomics_study.py", "make_hospitals", MINUTES),
        Elsewhere("fedmvi-simulate run", "server/study/test_genomics_study.py", "conduct", MINUTES),
    ),
    "howto/use-a-model.md": (
        Elsewhere(
            "fedmvi-site predict --model hybrid.zip --patients new-patients --",
            "client/predicting/test_images.py", '"predict"', IMAGES,
        ),
    ),
    "howto/simulate-a-consortium.md": (
        Elsewhere("fedmvi-simulate cohort", "simulation/cohorts/test_consortium.py", '"tiny", "hostile"', IMAGES),
        Elsewhere("fedmvi-site prepare", "e2e/test_imaging_study.py", "prepare(", IMAGES),
        Elsewhere("fedmvi-simulate run", "e2e/test_imaging_study.py", "Action.RUN", IMAGES),
        Elsewhere("fedmvi-simulate signal", "simulation/test_signal.py", "measure_signal(", IMAGES),
        Elsewhere("fedmvi-site check", "simulation/cohorts/test_faults.py", 'load_consortium("hostile")', IMAGES),
        Elsewhere("fedmvi-simulate pooled-and-alone", "e2e/test_simulation.py", "compare_run(", MINUTES),
        Elsewhere("fedmvi-simulate stacks", "simulation/learning/test_hospitals.py", "make_learning_hosp", MINUTES),
    ),
    "howto/train-a-network.md": (
        Elsewhere("fedmvi-simulate stacks", "simulation/learning/test_hospitals.py", "make_learning_hosp", MINUTES),
        Elsewhere("fedmvi-simulate run", "simulation/learning/test_mri_study.py", "conduct", NETWORKS),
        Elsewhere("ls ", "client/learning/test_explaining.py", "PAGE", NETWORKS),
        Elsewhere("fedmvi-server export", "server/test_exporting.py", '"--network"', NETWORKS),
        Elsewhere("fedmvi-site export", "client/learning/test_exporting.py", "export_here(", NETWORKS),
    ),
    "howto/public-data.md": (
        Elsewhere("fedmvi-simulate run", "simulation/test_real_data.py", "conduct", "done there, and held against R"),
    ),
    "howto/try-the-network.md": (
        Elsewhere("fedmvi-simulate network", "e2e/test_network_command.py", '"network"', MINUTES),
        Elsewhere("fedmvi-simulate benchmark network", "deploy/test_guide.py", "make_context", "parsed only"),
    ),
    "howto/rehearse-failures.md": (Elsewhere("fedmvi-simulate chaos", "e2e/test_chaos.py", '"chaos"', MINUTES),),
}  # fmt: skip


def is_elsewhere(page: str, line: str) -> bool:
    """Whether a command of a page is listed."""
    return any(line.startswith(one.begins) for one in (*ELSEWHERE[ALL_PAGES], *ELSEWHERE.get(page, ())))

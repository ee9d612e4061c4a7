"""deploy: what an installation without the repository needs is in the wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("common", "client", "server", "simulation", "studies")
BESIDE = ("pyproject.toml", "README.md", "LICENSE")


def test_the_wheel_holds_every_file_of_the_rooms_and_nothing_of_the_tests(tmp_path: Path) -> None:
    """An image or a hospital installs the wheel: a template that is not declared as package data is missing there."""
    tree = tmp_path / "tree"
    for name in ROOMS:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in BESIDE:
        shutil.copy(ROOT / name, tree / name)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*build, "--wheel-dir", str(tmp_path), str(tree)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("fedmvi-*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    there = {str(path.relative_to(tree)) for name in ROOMS for path in (tree / name).rglob("*") if path.is_file()}
    assert there - packed == set(), "declare them in [tool.setuptools.package-data] of pyproject.toml"
    assert packed - there == set()

"""server/hub: copies what of a run is published, and nothing of the inner circle."""

from __future__ import annotations

import shutil
from pathlib import Path

from common.errors import FedmviError
from server.study.run_directory import RunDirectory

PUBLISHED = ("study.toml", "plan.json", "results.json", "run.json", "report.html", "nomogram.html")
PUBLISHED_FOLDERS = ("tables", "figures", "models")
"""All that leaves. Pooled sums, checkpoints, logs and whatever is added later stay where they are."""


def pull(run: RunDirectory, out: Path) -> list[Path]:
    """Copy what is published of a run into an empty or new folder; returns what was copied.

    Raises
    ------
    FedmviError
        213 the folder holds something.
    """
    if out.exists() and any(out.iterdir()):
        raise FedmviError(213, str(out))
    out.mkdir(parents=True, exist_ok=True)
    # Links are followed nowhere: nobody can lead a copy out of the run's folder.
    sources = [run.folder / name for name in PUBLISHED]
    for name in PUBLISHED_FOLDERS:
        folder = run.folder / name
        if folder.is_dir() and not folder.is_symlink():
            sources += sorted(folder.rglob("*"))
    copied = []
    for source in sources:
        if source.is_file() and not source.is_symlink() and not source.name.startswith("."):
            target = out / source.relative_to(run.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            copied.append(target)
    return copied

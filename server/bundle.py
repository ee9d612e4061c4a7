"""server: the Flower app bundle: the code of both sides, staged as Flower wants it; no study, no data."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from pathlib import Path

from common.errors import FedmviError

PACKAGES = ("common", "client", "server")

_LICENCE_NOTICE = "SPDX-License-Identifier: Apache-2.0\n"


def stage_bundle(target: Path) -> Path:
    """Write the Flower app into the empty folder `target`, and return it: code only, no study and no data.

    The packages are the ones installed beside this one, so a wheel and a checkout give the same bundle.
    Flower silently drops folders named `lib` or `build` and files named `test_*.py` when it packs the app,
    carries neither HTML nor CSS, and refuses an include pattern without a match.
    """
    root = Path(__file__).resolve().parents[1]
    target.mkdir(parents=True, exist_ok=True)
    if any(target.iterdir()):
        raise FedmviError(213, str(target))
    include = ["LICENSE"]
    for package in PACKAGES:
        for suffix in ("py", "toml"):
            files = sorted((root / package).rglob(f"*.{suffix}"))
            for file in files:
                copy = target / file.relative_to(root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
            if files:
                include.append(f"{package}/**/*.{suffix}")
    licence = root / "LICENSE"
    text = licence.read_text(encoding="utf-8") if licence.is_file() else _LICENCE_NOTICE
    (target / "LICENSE").write_text(text, encoding="utf-8")
    (target / "pyproject.toml").write_text(_bundle_pyproject(include), encoding="utf-8")
    return target


def _bundle_pyproject(include: list[str]) -> str:
    flower = importlib.metadata.version("flwr")
    return f"""\
[project]
name = "fedmvi"
version = "{importlib.metadata.version("fedmvi")}"
description = "FedMVI: federated prediction of microvascular invasion"
license = {{ file = "LICENSE" }}
dependencies = ["flwr>={flower}"]

[tool.flwr.app]
publisher = "fedmvi"
fab-format-version = 1
flwr-version-target = "{flower}"
fab-include = {json.dumps(include)}

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "client.app:app"

[tool.flwr.app.config]
run-dir = ""
action = "run"
site-names = "registered"
attempt = ""
"""

"""server/study: writes `results.json`. What it holds is `common.published.results`, which hospitals read too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from common.files import write_whole
from common.published.results import Results


def to_text(results: Results) -> str:
    """Sorted keys, shortest float text: equal results are equal bytes."""
    return json.dumps(results.model_dump(mode="json"), sort_keys=True, indent=1, allow_nan=False) + "\n"


def write_results(results: Results, path: Path) -> None:
    """Write `results.json`, whole or not at all."""
    write_whole(path, to_text(results).encode())


def schema() -> dict[str, Any]:
    """The JSON schema of `results.json`."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Results.model_json_schema()}

"""simulation/network: the benchmark of starts runs to its end, and says what it started and how much later ours is."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from simulation.benchmarks.startup import BARE_MESSAGE, BARE_NODE, OUR_EXECUTOR, OUR_MESSAGE, OUR_NODE, PYTHON
from simulation.cli import app


def test_every_start_is_timed_and_ours_is_held_against_flowers() -> None:
    found = CliRunner().invoke(app, ["benchmark", "startup", "--repeats", "1", "--json"])
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert {PYTHON, "fedmvi-site --help", BARE_MESSAGE, OUR_MESSAGE, OUR_EXECUTOR, BARE_NODE, OUR_NODE} <= set(
        told["started"]
    )
    assert all(one["wall_s"] > 0.0 for one in told["started"].values())
    assert set(told["differences_s"]) == {OUR_MESSAGE, OUR_EXECUTOR, OUR_NODE}
    assert told["repeats"] == 1

"""server/study: executes a run: a transport and a run's directory in, `results.json` and `run.json` out."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial

import common.statistics  # noqa: F401 - registers every query
from common.errors import FedmviError
from common.federation.ports import Journal, Meter, SitesPort, Transport
from server.study.checkpoints import FolderCheckpoints
from server.study.conduct import conduct, plan
from server.study.deadlines import answer_seconds
from server.study.network_files import write_models
from server.study.results import write_results
from server.study.run_directory import RunDirectory

PROGRESS_MARK = "FEDMVI-STEP "
"""Lines of the program's output that start so tell a person how far the run is."""


class Action(StrEnum):
    """What is done with a study."""

    RUN = "run"
    PLAN = "plan"


def execute(run: RunDirectory, transport: Transport, action: Action, progress: Callable[[str], None]) -> None:
    """Conduct or plan the study over the transport; an interrupted run goes on from its journal.

    Raises
    ------
    FedmviError
        What the run met; it is also kept in the run's directory.
    """
    run.failure_file.unlink(missing_ok=True)
    try:
        with run.locked():
            _execute(run, transport, action, progress)
    except FedmviError as error:
        run.write_failure(error)
        raise
    except Exception as error:
        run.write_failure(FedmviError(901, f"{type(error).__name__}: {error}"))
        raise


def _execute(run: RunDirectory, transport: Transport, action: Action, progress: Callable[[str], None]) -> None:
    study = run.study()
    meter = Meter(transport)
    journal = Journal(run.journal, SitesPort(meter, run.ticket(study), partial(answer_seconds, study)))
    resumed_at = journal.rounds
    begun = time.monotonic()
    if action is Action.PLAN:
        write_results(plan(study, journal), run.plan_file)
        return
    checkpoints = FolderCheckpoints(run.checkpoints)
    conducted = conduct(study, journal, progress, checkpoints)
    write_models(conducted.networks, checkpoints, run.models)
    facts = run.facts()
    facts |= {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - begun, 3),
        "rounds": journal.rounds,
        "rounds_before_resume": resumed_at,
        "messages": meter.messages,
        "bytes_to_sites": meter.bytes_to_sites,
        "bytes_from_sites": meter.bytes_from_sites,
        "sites": conducted.opened,
        "external_openings": {site: receipt.get("openings") for site, receipt in conducted.frozen.items()},
    }
    run.write_facts(facts)
    write_results(conducted.results, run.results_file)

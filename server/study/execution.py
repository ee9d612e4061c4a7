"""server/study: executes a run: a transport and a run's directory in, `results.json` and `run.json` out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial

import common.statistics  # noqa: F401 - registers every query
from common.errors import FedmviError
from common.federation.ports import Journal, Meter, SitesPort, Transport
from common.federation.query import Receipt
from server.study.action import Action
from server.study.checkpoints import FolderCheckpoints
from server.study.conduct import conduct, plan
from server.study.deadlines import answer_seconds
from server.study.missing import leave_out
from server.study.network_files import write_models
from server.study.progress import ProgressFile, Watched, telling
from server.study.results import write_results
from server.study.run_directory import RunDirectory

__all__ = ["PROGRESS_MARK", "Action", "Connect", "execute", "execute_over"]

PROGRESS_MARK = "FEDMVI-STEP "
"""Lines of the program's output that start so tell a person how far the run is."""


Connect = Callable[[Callable[[str], None]], Transport]
"""Makes the transport once the run is known to be ours; may tell what it waits for."""


def execute(run: RunDirectory, transport: Transport, action: Action, progress: Callable[[str], None]) -> None:
    """Conduct or plan the study over the transport; an interrupted run goes on from its journal.

    Raises
    ------
    FedmviError
        706 another process works on the run; and what the run met, which is also kept in the run's directory.
    """
    execute_over(run, lambda _: transport, action, progress)


def execute_over(
    run: RunDirectory,
    connect: Connect,
    action: Action,
    progress: Callable[[str], None],
    finish: Callable[[Callable[[str], None]], None] | None = None,
) -> None:
    """Conduct or plan the study over a transport that is made when the run is locked; raises as `execute` does.

    `finish` is called in the end, while the run is still locked; it may tell what it does, and raises nothing.
    """
    with run.locked():
        run.failure_file.unlink(missing_ok=True)
        file = ProgressFile(run.progress_file)
        tell = telling(file, progress)
        try:
            while not _tried(run, lambda: Watched(connect(tell), file), action, tell):
                file.begin_anew()
                tell(f"begin anew without {', '.join(run.left_out)}: away for too long")
        except FedmviError as error:
            run.write_failure(error)
            raise
        except Exception as error:
            run.write_failure(FedmviError(901, f"{type(error).__name__}: {error}"))
            raise
        if finish is not None:
            finish(tell)


def _tried(
    run: RunDirectory, connect: Callable[[], Transport], action: Action, progress: Callable[[str], None]
) -> bool:
    """Whether the study was conducted; if not, sites stayed away that may be left out, and are from now on."""
    try:
        _execute(run, connect(), action, progress)
    except FedmviError as error:
        if action is Action.RUN and leave_out(run, error):
            return False
        raise
    return True


def _execute(run: RunDirectory, transport: Transport, action: Action, progress: Callable[[str], None]) -> None:
    study = run.study()
    meter = Meter(transport)
    journal = Journal(run.journal, SitesPort(meter, run.ticket(), partial(answer_seconds, study)))
    resumed_at = journal.rounds
    begun, begun_cpu = time.monotonic(), time.thread_time()

    def met(opened: Mapping[str, Receipt]) -> None:
        """Who may be left out is known from now on, and needed when somebody is away; who once said no has said so."""
        facts = run.facts()
        known = {site: receipt.get("alone") == "yes" for site, receipt in opened.items()}
        for site, allowed in facts.get("may_be_left_out", {}).items():
            known[site] = known.get(site, True) and allowed
        run.write_facts({**facts, "may_be_left_out": known})

    if action is Action.PLAN:
        write_results(plan(study, journal, met, without=run.left_out), run.plan_file)
        return
    checkpoints = FolderCheckpoints(run.checkpoints)
    sets = run.gene_sets()
    conducted = conduct(study, journal, progress, checkpoints, without=run.left_out, met=met, sets=sets)
    write_models(conducted.networks, checkpoints, run.models)
    facts = run.facts()
    facts |= {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - begun, 3),
        # Of this thread: in a simulation Flower's engine works in others of the same process.
        "conducting_cpu_seconds": round(time.thread_time() - begun_cpu, 3),
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

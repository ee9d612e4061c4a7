"""server: writes and prints the report of a finished run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from common.terminal import EXIT_PROBLEMS, need, out, print_json

if TYPE_CHECKING:
    from server.study.run_directory import RunDirectory


def publish(run: RunDirectory, *, json_: bool) -> None:
    """Write the report of a finished run, and print its headlines or its results; exit code 1 if a site refused."""
    need("server", "jinja2", "matplotlib")
    # Loaded here, so that a machine without the report's libraries is told what to install.
    from common.published.results import read_results
    from server.report.headlines import headlines
    from server.report.page import write_report

    results = read_results(run.results_file)
    page = write_report(results, run.facts(), run.folder)
    if json_:
        print_json(results.model_dump(mode="json"))
    else:
        for sentence in headlines(results):
            out.print(f"- {escape(sentence)}")
        out.print(f"Report: {escape(str(page))}")
    if results.refused:
        raise typer.Exit(EXIT_PROBLEMS)

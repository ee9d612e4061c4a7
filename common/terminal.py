"""common: what the three commands share at a terminal: errors with numbers, and exit codes that mean something.

0: done. 1: done, and problems were found. 2: wrong usage. 3: a numbered error; nothing was changed or lost.
130: interrupted; what was done is kept.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from common.errors import FedmviError

EXIT_PROBLEMS = 1
EXIT_ERROR = 3
EXIT_INTERRUPTED = 130

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value for programs: JSON on standard output, nothing else."""
    sys.stdout.write(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def print_error(error: FedmviError) -> None:
    """Print an error for people: number, what happened, where, what to do."""
    err.print(f"[bold red]{error.code}[/] {escape(error.what + error.where)}")
    if error.local:
        err.print(f"  {escape(error.local)}")
    err.print(f"  [bold]What to do:[/] {escape(error.do)}")


def need(extra: str, *modules: str) -> None:
    """Error 804 if a library of an optional part is not installed."""
    if any(importlib.util.find_spec(module) is None for module in modules):
        raise FedmviError(804, extra=extra)


def run_app(app: typer.Typer) -> None:
    """Run a command; a numbered error is printed without a traceback and ends with exit code 3."""
    try:
        app()
    except FedmviError as error:
        print_error(error)
        raise SystemExit(EXIT_ERROR) from error

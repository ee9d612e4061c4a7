"""simulation: ends a Flower run whose owner has died, however it died, and removes what it left.

Started beside a run as `python -m simulation.watchdog FOLDER...`; its standard input is a pipe that only the owner
holds. When the pipe closes, the owner has finished, and there is nothing to do, or it was killed: then the processes of
the run, known by their Flower home in the first folder, are ended and all folders removed.
"""

from __future__ import annotations

import shutil
import signal
import sys
import time
from pathlib import Path

from simulation.processes import groups_of, signal_groups

GRACE_SECONDS = 3.0


def main() -> None:
    """Wait for the end of the owner, then clean up."""
    folders = [Path(argument) for argument in sys.argv[1:]]
    sys.stdin.buffer.read()
    home = folders[0] / "home"
    for number in (signal.SIGTERM, signal.SIGKILL):
        groups = groups_of(home)
        if groups:
            signal_groups(groups, number)
            time.sleep(GRACE_SECONDS)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

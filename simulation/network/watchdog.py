"""simulation/network: ends the deployment of a folder when its owner ends, however that was.

Started as `python -m simulation.network.watchdog FOLDER`; its standard input is a pipe that only the owner holds. When
the pipe closes, the owner has stopped its processes, and there is nothing to do, or it was killed. The folder stays.
"""

from __future__ import annotations

import sys
from pathlib import Path

from simulation.network.daemons import end_all


def main() -> None:
    """Wait for the end of the owner, then end what it left."""
    sys.stdin.buffer.read()
    end_all(Path(sys.argv[1]))


if __name__ == "__main__":
    main()

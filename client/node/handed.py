"""client/node: answers one message that another installed version of FedMVI hands over; see `installations`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO

from client.cohort.site import load_site
from client.node.folder import NodeFolder
from client.node.installations import PROTOCOL, pack_records, read_frame, unpack_records, write_frame
from client.receiving import receive
from common.errors import FedmviError
from common.flower.bundle import refuse_other_code
from common.observing.logs import LogFormat, configure


def answer_handed(fro: IO[bytes], to: IO[bytes]) -> int:
    """Say whether the bundle has this version's code, and if so answer the message; an exit code."""
    header = json.loads(read_frame(fro))
    bundle = read_frame(fro)
    if header["protocol"] != PROTOCOL:
        write_frame(to, json.dumps({"mine": False}).encode())
        return 1
    folder = Path(header["site"])
    site = load_site(folder)
    configure(
        LogFormat(site.node.log_format),
        NodeFolder(site).local_log,
        part="handed",
        site=site.name,
        reads_patients=True,
    )
    try:
        refuse_other_code(bundle)
    except FedmviError:
        write_frame(to, json.dumps({"mine": False}).encode())
        return 1
    write_frame(to, json.dumps({"mine": True}).encode())
    write_frame(to, pack_records(receive(folder, unpack_records(read_frame(fro)))))
    return 0


if __name__ == "__main__":
    # What is printed while the message is answered must not come between the frames.
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        raise SystemExit(answer_handed(sys.stdin.buffer, answers))

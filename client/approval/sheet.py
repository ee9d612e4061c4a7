"""client/approval: the data-protection sheet: one study at one site, for a data-protection officer to read and sign.

It prints on two or three sheets of A4, holds its own style, needs no script, and asks for nothing over any network.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import date
from importlib.resources import files
from pathlib import Path

from client.approval.telling import Told
from common.errors import FedmviError
from common.files import write_whole
from common.terminal import need

_GENERATOR = "fedmvi-site sheet"


def write_sheet(path: Path, told: Told, by: str) -> None:
    """Write the sheet of a study.

    Parameters
    ----------
    path
        A file, replaced if it is there.
    told
        What the study asks of the site.
    by
        Who approves, printed beside the line for the signature; may be "".

    Raises
    ------
    FedmviError
        768 the file cannot be written, 804 jinja2 is not installed.
    """
    need("site", "jinja2")
    import jinja2

    here = files("client.approval")
    css = here.joinpath("sheet.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    page = environment.from_string(here.joinpath("sheet.html").read_text(encoding="utf-8")).render(
        told=told,
        by=by,
        today=date.today().isoformat(),
        masked=dict(told.policy)["masks"] == "required",
        networks=any(release.risk == "MODEL" for release in told.foreseen.releases),
        generator=_GENERATOR,
        css=css,
        style_source=f"sha256-{base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()}",
    )
    try:
        write_whole(path, page.encode())
    except OSError as error:
        raise FedmviError(768, f"{path}: {error.strerror}") from error

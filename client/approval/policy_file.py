"""client/approval: edits `approved_studies` in site.toml, and nothing else of the file.

The file is a person's: its comments, order and blanks stay. What is written is read first, as the program will read
it, and must say what the old file said with that one list changed; otherwise nothing is written (760).
"""

from __future__ import annotations

import json
import re
import stat
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from client.cohort.site import Site, load_site
from common.errors import FedmviError
from common.files import write_whole

KEY = "approved_studies"
_HEADER = re.compile(r"^[ \t]*\[[ \t]*policy[ \t]*\][ \t]*(#[^\r\n]*)?(?=\r?$)", re.MULTILINE)
_TABLE = re.compile(r"^[ \t]*\[", re.MULTILINE)
_Edit = Callable[[str], str | None]
_ENTRY = re.compile(rf"^[ \t]*{KEY}[ \t]*=[ \t]*\[", re.MULTILINE)


def line_of(approved: Sequence[str]) -> str:
    """The line as a person would write it."""
    return f"{KEY} = {json.dumps(list(approved))}"


def approve_in_file(site: Site, fingerprint: str, note: str) -> Site:
    """Add a study to `approved_studies`; one that is there stays. `note` becomes a comment where it has a line.

    Returns
    -------
    The site as it is read afterwards.

    Raises
    ------
    FedmviError
        760 the list cannot be changed safely; `local` has the line to write.
    """
    approved = site.policy.approved_studies
    if fingerprint in approved:
        return site
    return _rewrite(site, (*approved, fingerprint), lambda text: _added(text, fingerprint, note))


def disapprove_in_file(site: Site, fingerprint: str) -> Site:
    """Take a study off `approved_studies`; errors as `approve_in_file`, and 761 where it is not there."""
    approved = site.policy.approved_studies
    if fingerprint not in approved:
        raise FedmviError(761)
    rest = tuple(name for name in approved if name != fingerprint)
    return _rewrite(site, rest, lambda text: _removed(text, fingerprint))


def _rewrite(site: Site, wanted: tuple[str, ...], edit: _Edit) -> Site:
    path = (site.folder / "site.toml").resolve()
    before = path.read_bytes()
    try:
        text = before.decode("utf-8")
        new = edit(text)
        if new is None or not _same_but_list(text, new, wanted):
            raise FedmviError(760, line_of(wanted))
    except ValueError as error:  # not UTF-8, not TOML, or strings that only TOML writes so
        raise FedmviError(760, line_of(wanted)) from error
    with TemporaryDirectory(prefix="fedmvi-site-") as folder:
        write_whole(Path(folder) / "site.toml", new.encode())
        read = load_site(Path(folder))
        if read.policy.approved_studies != wanted:
            raise FedmviError(760, line_of(wanted))
    write_whole(path, new.encode(), stat.S_IMODE(path.stat().st_mode))
    return load_site(site.folder)


def _same_but_list(old: str, new: str, wanted: tuple[str, ...]) -> bool:
    before, after = tomllib.loads(old), tomllib.loads(new)
    return {**before, "policy": {**before.get("policy", {}), KEY: list(wanted)}} == after


@dataclass(frozen=True)
class _Item:
    start: int
    end: int
    value: str


@dataclass(frozen=True)
class _List:
    """The list's place in the text: behind `[`, at `]`, its strings, and the comma behind the last one, or -1."""

    start: int
    end: int
    items: tuple[_Item, ...]
    comma: int


def _added(text: str, fingerprint: str, note: str) -> str | None:
    ending = "\r\n" if "\r\n" in text else "\n"
    entry = json.dumps(fingerprint)
    header = _HEADER.search(text)
    if header is None:
        gap = "" if not text or text.endswith("\n") else ending
        return f"{text}{gap}{ending}[policy]{ending}{KEY} = [{ending}  {entry}, # {note}{ending}]{ending}"
    found = _list_in(text, header.end())
    if found is None:
        at = header.end()
        return f"{text[:at]}{ending}{KEY} = [{ending}  {entry}, # {note}{ending}]{text[at:]}"
    if "\n" not in text[found.start : found.end]:
        at = found.items[-1].end if found.items else found.start
        return f"{text[:at]}{', ' if found.items else ''}{entry}{text[at:]}"
    # A line of its own before the bracket; what is there keeps its comments.
    if found.items and found.comma < 0:
        at = found.items[-1].end
        text, shift = f"{text[:at]},{text[at:]}", 1
    else:
        shift = 0
    line = text.rfind("\n", 0, found.end + shift) + 1
    indent = _indent(text, found.items[-1].start) if found.items else "  "
    if text[line : found.end + shift].strip():  # the bracket ends a line with entries
        at = found.end + shift
        return f"{text[:at]}{ending}{indent}{entry}, # {note}{ending}{text[at:]}"
    return f"{text[:line]}{indent}{entry}, # {note}{ending}{text[line:]}"


def _removed(text: str, fingerprint: str) -> str | None:
    header = _HEADER.search(text)
    found = _list_in(text, header.end()) if header is not None else None
    places = [i for i, item in enumerate(found.items) if item.value == fingerprint] if found is not None else []
    if found is None or not places:
        return None
    for place in reversed(places):
        item = found.items[place]
        start, end = item.start, item.end
        behind = re.compile(r"[ \t]*,").match(text, end)
        line = text.rfind("\n", 0, start) + 1
        rest = re.compile(r"[ \t]*,?[ \t]*(#[^\n]*)?\r?(\n|$)").match(text, end)
        if not text[line:start].strip() and rest is not None and line > found.start:
            text = text[:line] + text[rest.end() :]  # its own line, with its comment
        elif behind is not None:
            end = behind.end()
            blank = re.compile(r"[ \t]*").match(text, end)
            text = text[:start] + text[blank.end() if blank else end :]
        else:
            before = re.compile(r",[ \t]*$").search(text[:start])
            text = text[: before.start() if before else start] + text[end:]
    return text


def _list_in(text: str, start: int) -> _List | None:
    """The list under [policy], of plain strings; None where there is none in this table."""
    following = _TABLE.search(text, start)
    while following is not None and _inside_list(text, start, following.start()):
        following = _TABLE.search(text, following.end())
    stop = following.start() if following is not None else len(text)
    entry = _ENTRY.search(text, start, stop)
    return _scan(text, entry.end()) if entry is not None else None


def _inside_list(text: str, start: int, place: int) -> bool:
    """Whether a line that begins with a bracket belongs to a list that is still open."""
    entry = _ENTRY.search(text, start, place)
    scanned = _scan(text, entry.end()) if entry is not None else None
    return scanned is not None and scanned.end > place


def _scan(text: str, start: int) -> _List | None:
    """From behind `[` to its `]`: strings in single or double quotes, commas and comments; None for anything else."""
    items: list[_Item] = []
    comma, at = -1, start
    token = re.compile(r"""(?P<blank>[ \t\r\n]+)|(?P<comment>\#[^\n]*)|(?P<comma>,)|(?P<end>\])|"""
                       r"""(?P<string>"(?:[^"\\\n]|\\.)*"|'[^'\n]*')""")  # fmt: skip
    while (match := token.match(text, at)) is not None:
        if match.lastgroup == "end":
            return _List(start, match.start(), tuple(items), comma)
        if match.lastgroup == "comma":
            comma = match.start()
        elif match.lastgroup == "string":
            written = match.group()
            value = json.loads(written) if written.startswith('"') else written[1:-1]
            items.append(_Item(match.start(), match.end(), value))
            comma = -1
        at = match.end()
    return None


def _indent(text: str, place: int) -> str:
    line = text.rfind("\n", 0, place) + 1
    before = text[line:place]
    return before if not before.strip() else "  "

"""server/report: what a page is made of: sections of paragraphs, lists, tables and figures. Text only, no markup."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.report.figures import Picture


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `kind` is `plain`, `note`, `warning` (not estimable, refused, underpowered)."""

    text: str
    kind: str = "plain"
    anchor: str = ""
    how: tuple[str, ...] = ()
    """How its numbers were computed; each leads to its explanation. The same in a table."""


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Terms:
    """Words, each with what it means; the anchors are those of the words."""

    pairs: tuple[tuple[str, str], ...]
    prefix: str = ""
    code: bool = False
    """Whether the meanings are for machines."""


@dataclass(frozen=True)
class Row:
    """A row of a table: its heading and its cells; `anchor` is the id of the result that it shows."""

    head: str
    cells: tuple[str, ...]
    anchor: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Table:
    """A table; the first of `columns` is over the row headings. `notes` stand under it."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    anchor: str = ""
    notes: tuple[str, ...] = ()
    by_site: bool = False
    """Whether the columns are sites, whose names must not be broken."""
    listing: bool = False
    """Whether the last column is words, which may be broken."""
    how: tuple[str, ...] = ()


@dataclass(frozen=True)
class Drawing:
    """A figure; `wide` ones scroll in their own box on a phone."""

    picture: Picture
    wide: bool = False


@dataclass(frozen=True)
class Entry:
    """An item of a checklist with its answer; `links` are anchors of the page, each with its title."""

    anchor: str
    number: str
    words: str
    status: str
    answer: str
    links: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Checklist:
    """A checklist, folded: how many items have which status, and its entries by section."""

    caption: str
    tally: str
    sections: tuple[tuple[str, tuple[Entry, ...]], ...]


Block = Paragraph | Bullets | Terms | Table | Drawing | Checklist


@dataclass
class Section:
    """A section with a heading, blocks, and sections inside it."""

    anchor: str
    title: str
    blocks: list[Block] = field(default_factory=list)
    parts: list[Section] = field(default_factory=list)

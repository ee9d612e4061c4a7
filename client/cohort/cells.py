"""client/cohort: what one cell of a table says: a number, a word or a date.

A cell that cannot be read is answered by the number of its error in `common.errors`, so that the caller, who
knows file, row and column, can report it and go on with the next cell.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from common.study.dictionary import YES_NO

_DIGITS = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_PLAIN = re.compile(_DIGITS, re.ASCII)
_BOUNDED = re.compile(rf"(<=|>=|[<>≤≥＜＞])\s*({_DIGITS})", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_RELATIONS = {"≤": "<=", "≥": ">=", "＜": "<", "＞": ">"}

_YES = frozenset({"yes", "y", "true", "1", "present"})
_NO = frozenset({"no", "n", "false", "0", "absent"})


@dataclass(frozen=True, slots=True)
class Number:
    """A number, or a bound for one: `relation` is "", "<", "<=", ">" or ">="."""

    value: float
    relation: str = ""

    def times(self, factor: float) -> Number:
        """In another unit. A factor such as 0.1 divides by 10: 51 mm are 5.1 cm, not 5.1000000000000005."""
        inverse = 1 / factor
        whole = inverse > 1 and inverse == round(inverse)
        return Number(self.value / inverse if whole else self.value * factor, self.relation)

    def stored(self) -> tuple[float, int]:
        """The pair (value, censored) of `common.study.table.Column`.

        (v, -1) says x <= v and (v, +1) says x > v: the two sides of a cut-off v, which codes x > v as 1. So `<20`
        and `<=20` are both (20, -1), `>20` is (20, +1), and `>=20` is +1 with the largest float below 20, because
        20 itself is not above the cut-off 20. A cut-off c is decided by (v, -1) where v <= c, by (v, +1) where v >= c.
        """
        if self.relation == ">=":
            return math.nextafter(self.value, -math.inf), 1
        return self.value, {"": 0, "<": -1, "<=": -1, ">": 1}[self.relation]


def parse_number(text: str) -> Number | int:
    """A plain or bounded number, or 304 (it has a comma), or 303 (it is no finite number)."""
    if _PLAIN.fullmatch(text):
        value, relation = float(text), ""
    elif bounded := _BOUNDED.fullmatch(text):
        value = float(bounded[2])
        relation = _RELATIONS.get(bounded[1], bounded[1])
    else:
        bare = text.replace(",", "")
        return 304 if bare != text and (_PLAIN.fullmatch(bare) or _BOUNDED.fullmatch(bare)) else 303
    return Number(value, relation) if math.isfinite(value) else 303


def parse_date(text: str) -> date | int:
    """A date written YYYY-MM-DD, or 317."""
    if not _DATE.fullmatch(text):
        return 317
    try:
        return date.fromisoformat(text)
    except ValueError:
        return 317


def word_index(text: str, words: Sequence[str]) -> int | None:
    """The position of a cell among words: exact, else regardless of case if only one word fits; None if none.

    Spreadsheets turn a column of whole numbers with gaps into 1.0, 2.0: that is read as 1, 2.
    """
    for candidate in (text, re.sub(r"^(\d+)\.0+$", r"\1", text)):
        if candidate in words:
            return words.index(candidate)
        folded = [i for i, word in enumerate(words) if word.casefold() == candidate.casefold()]
        if len(folded) == 1:
            return folded[0]
    return None


def level_index(text: str, levels: Sequence[str]) -> int | None:
    """The index of a cell's level, or None.

    For the levels ("no", "yes") also 1/0, true/false, y/n and present/absent. Never for others: whether 1 is male
    or female is for the site to say under `codes`.
    """
    found = word_index(text, levels)
    if found is None and tuple(levels) == YES_NO:
        found = yes_or_no(text)
    return found


def yes_or_no(text: str) -> int | None:
    """1 for yes, true, present, y, 1; 0 for their opposites; None for anything else."""
    word = re.sub(r"^([01])\.0+$", r"\1", text).casefold()
    return 1 if word in _YES else 0 if word in _NO else None


def same_word(text: str, words: Sequence[str]) -> bool:
    """Whether a cell is one of a rule's words; `1` is the same as `yes` here, as in `level_index`."""
    if word_index(text, words) is not None:
        return True
    meaning = yes_or_no(text)
    return meaning is not None and any(yes_or_no(word) == meaning for word in words)

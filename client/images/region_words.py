"""client/images: words by which hospitals call outlined regions, in labels and codes of segments and contours.

English, German, French, Spanish, Italian, and Chinese in characters and pinyin; one table for those who look for masks
and those who read them, so that both take a segment for the same region.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from client.images.finding.phase_words import normal

REGION_WORDS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "tumour": re.compile(
            r"\b(?:(?:gross|index|primary|malignant|liver|hepatic) )*"
            r"(?:tumou?r(?:s|es|e|i)?|tumeurs?|lesion(?:s|es|e|i)?|lasion(?:en)?|leber(?:tumor|lasion|herd)\w*|hcc\w*|"
            r"gtv\w*|neoplasms?|mass|hepatocellular carcinoma|hepato ?carcinom\w*|zhongliu|bingzao)"
            r"(?: volume| primary)?\b|肝?(?:肿瘤|病灶|肿块)|肝癌"
        ),
        "vessels": re.compile(
            r"\b(?:(?:blood|liver|hepatic) )*(?:vessels?|vasculature|gefass\w*|vaisseaux|vasos|vasi)\b|血管"
        ),
        "liver": re.compile(
            r"\b(?:(?:whole|entire|total) )?(?:liver|hepar|leber|foie|higado|fegato|ganzang)\b|\b肝脏?\b"
        ),
    }
)
"""Patterns on `normal` text with numbers apart; in order: `liver tumour` is a tumour, and `liver vessels` are vessels.
"""

_LEFT_OUT = re.compile(r"\b(?:without|minus|excluding|ohne|sans|sin|senza)\b.*")
"""`Liver without tumour` is a liver."""


def region_called(name: str) -> str:
    """The region whose name this is, as a whole but for a number behind; "" where it is none of them."""
    plain = re.sub(r"(?: \d+)+$", "", _words(name))
    return next((region for region, words in REGION_WORDS.items() if words.fullmatch(plain)), "")


def region_in(name: str) -> str:
    """The region of which a name speaks, whatever else it says; "" where it is none of them."""
    plain = _LEFT_OUT.sub("", _words(name))
    return next((region for region, words in REGION_WORDS.items() if words.search(plain)), "")


def _words(name: str) -> str:
    return re.sub(r"(?<=[^\W\d])(?=\d)", " ", normal(name))

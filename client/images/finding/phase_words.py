"""client/images/finding: words by which hospitals name phases and sequences in series descriptions: data, not rules.

English, German, French, Spanish, Italian, and Chinese in characters and pinyin. Words are looked for in `normal` text:
small letters without accents, punctuation as blanks. A pattern that names more than one phase gives them all, and
other headers must decide between them.

Sources of the words: the phases' names in LI-RADS v2018 (American College of Radiology), names of sequences as the
manufacturers Siemens, GE, Philips, Canon and United Imaging print them in their manuals, and the translations of both.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True)
class Words:
    """Words with one meaning.

    Attributes
    ----------
    means
        Phases (of CT; those of MR follow from them), sequences, or why a volume is left out.
    pattern
        Regular expression on `normal` text.
    """

    means: tuple[str, ...]
    pattern: re.Pattern[str]


def _words(means: str, *patterns: str) -> Words:
    return Words(tuple(means.split()), re.compile("|".join(patterns)))


def _left_out(why: str, *patterns: str) -> Words:
    return Words((why,), re.compile("|".join(patterns)))


_AGE = r"(?:early|late|fruh\w*?|spat\w*?|tardiv?[eao]?|tardif|precoce|temprana)"
_LATE_ARTERIAL = re.compile(rf"\b{_AGE} ?(?=art)|(?P<kept>\bart\w*) {_AGE}\b")
"""Early and late of an arterial phase: `late arterial` is not a late phase."""

ENHANCEMENT: tuple[Words, ...] = (
    _words(
        "plain", r"\bplain\b", r"\bnati(v|ve|va|vo|f|ves?)\b", r"\bunenhanced\b", r"\bnon? ?(contrast|enhanced)\b",
        r"\b(without|w ?o|no|sin|sans|senza|ohne) (i ?v )?(contrast\w*|mdc|km|kontrast\w*|injection|pdc|civ)\b",
        r"\bpre ?(contrast\w*|gd|gad\w*|km|inj\w*|iv)\b", r"\bpre\b(?! ?(op|monitor|scan))", r"\bbasale?\b",
        r"\bdiretta\b", r"\bncct\b", r"\bnect\b", r"\bnon ?con\b", r"\bcminus\b", "平扫", "增强前", r"\bpingsao\b",
    ),
    _words(
        "arterial", r"arterial(e|en|es|i)?\b", r"arteriell", r"\barteriel(le)?\b", r"\barterios[ao]\b",
        r"\bart( ?(phase|ph))?\b", r"\bhap\b", "动脉期", "动脉", r"\bdongmai(qi)?\b",
    ),
    _words(
        "portal", r"\bportal", r"\bporto ?ven\w*", r"\bpv[p]?\b", r"\bven(ous|os|ose|osa|oso|euse|eux)?\b",
        r"\bveine(use|ux)\b", "门静脉", "门脉", "(?<!门)静脉期", r"\bmen ?jing ?mai(qi)?\b", r"\bmen ?mai(qi)?\b",
    ),
    _words(
        "delayed hepatobiliary", r"\bdelay(ed|s)?\b", r"\blate\b", r"\bspat(phase|e)?\b", r"\btardiv?[eao]\b",
        r"\btardif\b", r"\bretarda\w*", r"\britardat\w*", "延迟", "延时", r"\byanchi(qi)?\b",
    ),
    _words("delayed", r"\bequilib\w*", r"\bgleichgewicht\w*", r"\btransition\w*", "平衡期", "移行期"),
    _words("hepatobiliary", r"\bhbp\b", r"\bhepato ?bil\w*", r"\bhepatocyt\w*", r"\bhepato ?spe\w*",
           r"\bleberspezi\w*", r"\bepato ?bil\w*", "肝胆", r"\bgandan(qi)?\b"),
)  # fmt: skip
"""Phases of contrast. What is `delayed` may on MR be of 3 or of 20 minutes."""

ENHANCED = _words(
    "arterial portal delayed hepatobiliary", r"\bcplus\b", r"\bpost\b(?! ?(op|proc))", r"\bwith contrast\b",
    r"\bmit (km|kontrast\w*)\b", r"(?<!non )\benhanced\b", "增强(?!前)", r"\bzengqiang\b",
)  # fmt: skip
"""After contrast, whichever phase."""

SEQUENCES: tuple[Words, ...] = (
    _words("adc", r"\badc\b", r"\bapparent diff\w*", "表观"),
    _words("dwi", r"\bdwi\w*", r"\bdiff\w*", r"\bdifu\w*", r"\bdw ?epi\b", r"\bep2d\b", r"\btracew?\b", "弥散", "扩散",
           r"\bmisan\b", r"\bkuosan\b", r"\bresolve\b"),
    _words("t2", r"\bt2w?\b", r"\bhaste\b", r"\bss ?h? ?(f|t)se\b", r"\bfrfse\b", r"\bblade\b", r"\bpropeller\b"),
    _words("t1", r"\bt1w?\b", r"\bvibe\b", r"\blava\b", r"\be ?thrive\b", r"\bthrive\b", r"\bf?spgr\b", r"\bflash\b",
           r"\bquick ?3d\b", r"\bfame\b", r"\btigre\b"),
)  # fmt: skip
"""Sequences of MR, the more specific first."""

CHEMICAL_SHIFT: tuple[Words, ...] = (
    _words("t1-opposed", r"\bopp\w*", r"\bout ?of ?phase\b", r"\bout ?phase\b", r"\boop\b",
           r"(?<!post )(?<!pre )\bop\b", r"\bgegenphas\w*", r"\bhors phase\b", r"\bfuera de fase\b", r"\bfuori fase\b",
           "反相", r"\bfanxiang(wei)?\b"),
    _words("t1-in", r"\bin ?phase\b", r"\bin (?=opp?\b|out\b)", r"\bip\b",
           r"\b(?:vibe|dixon|dual)\b.* in\b", r"\ben ?(phase|fase)\b", r"\bin ?fase\b", "同相", r"\btongxiang(wei)?\b"),
)  # fmt: skip

LEFT_OUT: tuple[Words, ...] = (
    _left_out("a localizer", r"\blocali[sz]\w*", r"\blokali\w*", r"\bscout\w*", r"\bsurvi?e[wy]\b", r"\btopogram\w*",
              r"\bscano(gram|g)?\b", r"\b(3|three|tri) ?(plane|pl)\b", r"\bloc\b", "定位", r"\bdingwei\w*"),
    _left_out("a bolus-tracking series", r"\b(pre ?)?monitor\w*", r"\bcare ?bolus\b", r"\bsmart ?prep\b",
              r"\bbolus ?(track\w*|timing)\b", r"\btest ?bolus\b", r"\btracker\b", r"\bsure ?start\b"),
    _left_out("a projection or rendering", r"\bm(in)?ip\b", r"\bvrt?\b", r"\brender\w*", r"\bthick ?slab\b"),
    _left_out("a reformat", r"\bmpr\b", r"\breformat\w*", r"\bcurved\b"),
    _left_out("a subtraction", r"\bsub\b", r"\bsubtr\w*", r"\bsoustr\w*", r"\bsustra\w*", r"\bsottra\w*", "减影"),
    _left_out("a fat or fraction image", r"^fat\b(?! ?sat)", r"\bfat ?(only|frac\w*)\b", r"\bff\b",
              r"\bdixon\b.* (f|fat)$", r"\bpdff\b"),
    _left_out("a T2* or R2* image", r"\b[tr]2 ?star\b", r"\bswi\b"),
    _left_out("cholangiography or angiography", r"\bmrcp\b", r"\bcholangi\w*", r"\bangio\w*", r"\bmra\b", r"\bcta\b"),
    _left_out("a balanced gradient echo", r"\bfiesta\b", r"\btru ?fi(sp)?\b", r"\bb ?ffe\b", r"\bb ?tfe\b"),
    _left_out("a map or computed image", r"\be ?adc\b", r"\bexp(onential)? ?(adc|app\w*)", r"\bcalc\w*",
              r"\bcomputed\b", r"\bsynth\w*", r"\bperf\w*", r"\belasto\w*", r"\bmre\b", r"\bt[12] ?map\w*"),
    _left_out("a report or screen", r"\bdose\b", r"\breport\b", r"\bscreen ?(save|shot|capture)\w*",
              r"\bpatient protocol\b", r"\bkey ?images?\b"),
)  # fmt: skip

HEPATOCYTE_AGENTS: tuple[tuple[str, re.Pattern[str], tuple[float, float]], ...] = (
    ("gadoxetate", re.compile(r"gadoxet|primovist|eovist|\beob\b"), (600.0, 2700.0)),
    ("gadobenate", re.compile(r"gadobenat|multihance|bopta"), (2700.0, 10800.0)),
)
"""Agents with a hepatobiliary phase, and when it is, in seconds: about 20 minutes after gadoxetate and 1 to 3 hours
after gadobenate (LI-RADS v2018, technical recommendations; summaries of product characteristics)."""

EXTRACELLULAR = re.compile(
    r"gadobutr|gadovist|gadavist|gadoter|dotarem|clariscan|prohance|magnevist|gadopent|gadodiamid|omniscan|"
    r"optimark|gadoverset|gadopiclen|elucirem|vueway"
)
"""Agents that the liver does not take up: no hepatobiliary phase."""

NO_AGENT = re.compile(r"^(none|no|nein|non|nil|keine?s?|ninguno|nessuno|without|w ?o|no contrast|无|n a)$")
"""What people write into Contrast/Bolus Agent where none was given."""

ORAL = re.compile(r"^(oral|water|wasser|gastro\w*|barium|redi ?cat|volumen|per os|po)( (oral|contrast|po))?$")
"""Contrast in the bowel only: it says nothing of the phase."""


def normal(text: str) -> str:
    """Text as the patterns expect it.

    Accents fall, punctuation and changes from small to capital letters become blanks; `C+`, `+C` and `C-`, by which
    many scanners tell whether contrast was given, become words.
    """
    text = re.sub(r"(?<![A-Za-z])([cC]\+|\+[cC](?![A-Za-z]))", " cplus ", text)
    text = re.sub(r"(?<![A-Za-z])[cC]-(?![A-Za-z0-9])", " cminus ", text)
    text = re.sub(r"(?<=[tTrR]2)\*", " star", text)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    words = re.sub(r"[^\w]+|_", " ", plain.casefold()).strip()
    return _LATE_ARTERIAL.sub(lambda found: found["kept"] or "", words)


def found_in(text: str, table: tuple[Words, ...]) -> list[tuple[Words, str]]:
    """All entries of a table that normal text holds, each with the words that matched."""
    matches = ((words, words.pattern.search(text)) for words in table)
    return [(words, match.group().strip()) for words, match in matches if match]

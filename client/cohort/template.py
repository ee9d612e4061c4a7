"""client/cohort: `fedmvi-site init`: a new site's folder, with a site.toml that explains itself.

The comments are made from the descriptions of the fields, and the list of columns from the dictionary, so that
neither can fall behind the program.
"""

from __future__ import annotations

import json
import secrets
import textwrap
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from client.cohort.site import ColumnMap, Images, Node, Policy, SiteHead, Tables
from common.errors import FedmviError
from common.files import write_whole
from common.study.acquisition import LEVELS as ACQUISITION
from common.study.dictionary import DICTIONARY, Variable
from common.study.eligibility import Eligibility

_TIMES = ("os_months", "os_event", "rfs_months", "rfs_event")


def init_site(folder: Path, name: str) -> list[Path]:
    """Make a site's folder: site.toml, patients.csv (headers only) and site.secret; returns the three files.

    patients.csv has no example row: one forgotten there would be a patient.

    Raises
    ------
    FedmviError
        203 a name that no study could use, 213 a folder that is not empty.
    """
    try:
        SiteHead(name=name)
    except ValidationError as error:
        detail = f"name '{name}': letters, digits, '_', '.' and '-', at most 64"
        raise FedmviError(203, detail, count=1) from error
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FedmviError(213, str(folder))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = {
        "site.secret": (secrets.token_hex(32) + "\n", 0o600),
        "patients.csv": (",".join(_headers()) + "\n", 0o600),
        "site.toml": (site_toml(name), 0o644),
    }
    for file, (text, mode) in files.items():
        write_whole(folder / file, text.encode(), mode)
    return [folder / file for file in files]


def site_toml(name: str) -> str:
    """The commented text of a new site.toml; defaults stand commented out."""
    parts = [
        _comment("The description of one site for FedMVI. Lines that begin with # are explanations, or defaults that "
                 "you may change: remove the # and edit. `fedmvi-site check` reads the folder and prints every "
                 "problem; nothing leaves this machine by it."),
        _table("site", SiteHead, {"name": name}),
        _comment("patients.csv has one row a patient. `patient_id` is needed; of the other columns only those that a "
                 "study names are read, so columns that you do not have may be removed, and columns of your own may "
                 "stay. An empty cell means: not known. Event columns hold 1 or 0, dates are YYYY-MM-DD. `cohort` is "
                 "an optional free label, such as the year, by which a study may tell patients apart. site.secret is "
                 "the root of this site's random draws: keep a copy, show it to nobody."),
        _table("tables", Tables, {}),
        _table("images", Images, {}),
        _columns(),
        _table("policy", Policy, {}),
        _table("node", Node, {}),
    ]  # fmt: skip
    return "\n".join(parts)


def _headers() -> list[str]:
    """Common columns: what is known before surgery, eligibility, the outcome, and survival."""
    clinical = [v.name for v in DICTIONARY.values() if v.known == "preoperative" and v.name not in ACQUISITION]
    rules = list(Eligibility.model_fields)
    return list(dict.fromkeys(["patient_id", "cohort", *rules, *clinical, "vascular_invasion", *_TIMES]))


def _table(name: str, model: type[BaseModel], given: dict[str, str]) -> str:
    lines = [_comment((model.__doc__ or "").strip()) + f"[{name}]"]
    for field, info in model.model_fields.items():
        lines.append(_comment(_explained(info)).rstrip("\n"))
        if field in given:
            lines.append(f"{field} = {json.dumps(given[field])}")
        elif info.get_default() is not None:
            lines.append(f"# {field} = {json.dumps(info.get_default(), ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _explained(info: FieldInfo) -> str:
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    limits = [f"{word} {getattr(m, key)}" for m in info.metadata for key, word in words.items() if hasattr(m, key)]
    return f"{info.description}" + (f" Allowed: {', '.join(limits)}." if limits else "")


def _columns() -> str:
    example = 'afp = { header = "AFP (IU/ml)", unit = "IU/mL" }'
    lines = [_comment(f"{(ColumnMap.__doc__ or '').strip()} A column is found under its own name or an alias, "
                      "whatever the case, so only the others need an entry. Each entry may have:")]  # fmt: skip
    for field, info in ColumnMap.model_fields.items():
        lines.append(_comment(f"{field}: {info.description}", indent="  "))
    lines.append(_comment("For example:"))
    lines += [
        f"#   {example}\n",
        '#   sex = { header = "Geschlecht", codes = { "w" = "female", "m" = "male" } }\n',
        '#   imaging_to_surgery_days = { start = "date_of_ct", end = "date_of_surgery" }\n',
        _comment("The dictionary's columns; a study may add its own:"),
    ]
    lines += [_comment(_variable(v), indent="  ") for v in DICTIONARY.values()]
    return "".join(lines) + "[columns]\n"


def _variable(variable: Variable) -> str:
    what = f"in {variable.unit}" if variable.unit else ", ".join(variable.levels) or "a number"
    units = f"; or in {', '.join(variable.units)}" if variable.units else ""
    aliases = f"; also found as {', '.join(variable.aliases)}" if variable.aliases else ""
    return f"{variable.name}: {variable.title}, {what}{units}{aliases}"


def _comment(text: str, indent: str = "") -> str:
    lines = textwrap.wrap(text, 110 - len(indent), subsequent_indent="  " if indent else "", break_long_words=False)
    return "".join(f"# {indent}{line}\n" for line in lines)

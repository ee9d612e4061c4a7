"""common/study: reads study.toml; every problem is reported at once, with its line and a hint."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import ValidationError

from common.errors import FedmviError
from common.study.contradictions import contradictions
from common.study.declarations import as_tuples, line_of, spell, toml_problems
from common.study.protocol import Study


def load_study(path: Path) -> Study:
    """Read and validate a protocol.

    Raises
    ------
    FedmviError
        101 unreadable, 102 not TOML, 103 with every problem in `local`, 104 a preoperative model that uses
        what only pathology or follow-up tells.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FedmviError(101, str(path)) from error
    return parse_study(text, str(path))


def parse_study(text: str, name: str = "study.toml") -> Study:
    """Validate the text of a protocol; see `load_study`."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FedmviError(102, f"{name}: {error}") from error
    try:
        study = Study.model_validate(as_tuples(data))
    except ValidationError as error:
        problems = toml_problems(error, text, Study)
        raise FedmviError(103, f"{name}: " + "; ".join(problems), count=len(problems)) from error
    found = contradictions(study)
    if found:
        problems = [f"line {line_of(text, place)}: {spell(place)}: {sentence}" for place, sentence in found]
        raise FedmviError(103, f"{name}: " + "; ".join(problems), count=len(problems))
    refuse_late_knowledge(study, text)
    return study


def refuse_late_knowledge(study: Study, text: str = "") -> None:
    """A preoperative model may use only what is known before surgery; error 104 for the first, `local` has all."""
    late = [
        (i, j, model.name, study.variable(term.variable))
        for i, model in enumerate(study.models)
        if model.timing == "preoperative"
        for j, term in enumerate(model.predictors)
        if study.variable(term.variable).known != "preoperative"
    ]
    if not late:
        return
    sentences = []
    for i, j, model, variable in late:
        line = f"line {line_of(text, ('models', i, 'predictors', j))}: " if text else ""
        why = f" ({variable.leaks})" if variable.leaks else ""
        sentences.append(f"{line}{model}: '{variable.name}' is {variable.known}{why}")
    _, _, first, variable = late[0]
    known = "pathology" if variable.known == "pathological" else variable.known
    raise FedmviError(104, "; ".join(sentences), model=first, variable=variable.name, known=known)

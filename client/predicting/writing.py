"""client/predicting: predictions as a table or as JSON: a file that only its owner may read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from client.predicting.prediction import Prediction
from common.errors import FedmviError
from common.files import write_whole
from common.models.archive import HandedOn
from common.study.fingerprint import code_fingerprint


def write_predictions(path: Path, handed: HandedOn, predictions: Sequence[Prediction]) -> None:
    """Write a new file for its owner only, in the form that its name says.

    Raises
    ------
    FedmviError
        784 there is a file of that name, 785 the name does not end in .csv or .json, or it cannot be written.
    """
    check_new(path)
    text = as_csv(predictions) if path.suffix == ".csv" else as_json(handed, predictions)
    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise FedmviError(785, f"{path}: {error.strerror}") from error


def check_new(path: Path) -> None:
    """Error 784 or 785 unless `path` is a new file whose name says how it is written."""
    if path.suffix not in (".csv", ".json"):
        raise FedmviError(785, f"{path}: the name must end in .csv or .json")
    if path.exists():
        raise FedmviError(784, str(path))


def as_csv(predictions: Sequence[Prediction]) -> str:
    """One row a patient; several inputs or remarks of a cell are joined by semicolons, scores as `<name>=<score>`."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([field.name for field in fields(Prediction)])
    for prediction in predictions:
        writer.writerow([_cell(value) for value in asdict(prediction).values()])
    return out.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, dict):
        return ";".join(f"{name}={'' if score is None else score}" for name, score in value.items())
    return ";".join(value) if isinstance(value, tuple) else value


def as_json(handed: HandedOn, predictions: Sequence[Prediction]) -> str:
    """The predictions with what they were made by."""
    model = handed.model
    told = {
        "intended_use": model.intended_use,
        "model": model.name,
        "title": model.title,
        "endpoint": model.endpoint,
        "cutoff": model.cutoff,
        "sha256": handed.digest,
        "signed_by": handed.signed_by,
        "study_fingerprint": model.origin.study_fingerprint,
        "same_program": model.origin.code_fingerprint == code_fingerprint(),
        "predictions": [asdict(prediction) for prediction in predictions],
    }
    return json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False) + "\n"

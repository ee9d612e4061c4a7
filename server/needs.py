"""server: prints what a study needs, from its protocol alone: cohorts, parameters, patients."""

from __future__ import annotations

from rich.markup import escape

from common.study.coding import coded_columns
from common.study.fingerprint import study_fingerprint
from common.study.protocol import Study
from common.terminal import out, print_json
from server.study.sample_size import sample_size

PREVALENCES = (0.2, 0.3, 0.4, 0.5)
_LARGE = 1_000_000


def print_needs(study: Study, *, json_: bool) -> None:
    """Print the fingerprint of a sound protocol, its cohorts, and how many patients each model needs (Riley)."""
    fitted = (model for model in study.models if model.fixed is None)
    needs = {model.name: _needed(len(coded_columns(study, model.predictors))) for model in fitted}
    if json_:
        print_json({"study": study.study.name, "fingerprint": study_fingerprint(study), "models": needs})
        return
    out.print(f"[bold]{escape(study.study.title)}[/] is a sound protocol; fingerprint {study_fingerprint(study)}")
    for cohort in study.cohorts:
        out.print(f"  cohort {cohort.name} ({cohort.role}): {escape(', '.join(cohort.sites))}")
    for name, wanted in needs.items():
        words = ", ".join(f"{n} at a prevalence of {p}" for p, n in wanted["patients_needed"].items())  # type: ignore[attr-defined]
        out.print(f"  model {name}: {wanted['parameters']} parameters; patients needed (Riley): {words}")
    out.print("Patients and events of the sites: add --hub, or use `fedmvi-simulate plan`.")


def _needed(parameters: int) -> dict[str, object]:
    patients = {f"{p:g}": sample_size(_LARGE, round(_LARGE * p), parameters).needed for p in PREVALENCES}
    return {"parameters": parameters, "patients_needed": patients}

"""server/export: a frozen logistic model of a run as a file that hospitals can use; published numbers only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from common.errors import FedmviError
from common.federation.signatures import Signer
from common.files import write_whole
from common.models.archive import pack_model
from common.models.logistic import FrozenModel, Input, Measure, Origin, Performance
from common.models.network import FrozenNetwork
from common.published.results import LogisticModel, Predictor, Result, Results, read_results
from common.study.correcting import declared_recalibration
from common.study.features import FEATURE
from common.study.fingerprint import study_fingerprint
from common.study.intended_use import intended_use
from common.study.modelling import is_score
from common.study.networks import Network
from common.study.protocol import Model, Study
from common.study.ranges import NUMBERS
from common.study.scores import named_network, of_score
from server.export.model_readme import model_readme
from server.export.networks import frozen_network
from server.export.recalibrated import recalibrated_model
from server.hub.folder import load_hub
from server.report.contents import ModelParts, estimate, models
from server.report.nomogram import usual_values
from server.study.run_directory import RunDirectory

_ON_SCORES = ("calibration", "cut-off", "bootstrap")
"""Analyses whose estimates are of one model each, which is their term."""


def write_model(folder: Path, name: str, to: Path, hub: Path | None = None) -> FrozenModel:
    """Write the file of a run's logistic model.

    Parameters
    ----------
    folder
        The run's.
    name
        Of the model.
    to
        A new file.
    hub
        The folder of the hub whose key signs; without it that of the hub that the run lies in, if it does.

    Raises
    ------
    FedmviError
        120 its features are harmonised, 512 or 739 the hub or its key cannot be read, 702 no results, 704 results of
        another protocol, 780 the run has no such model, 784 there is such a file, 785 it cannot be written; and of a
        model on a network's score 686 to 689, see `trained_weights`.
    """
    run = RunDirectory(folder)
    if to.exists():
        raise FedmviError(784, str(to))
    study, results = run.study(), read_results(run.results_file)
    if study_fingerprint(study) != results.study_fingerprint:
        raise FedmviError(704, f"{folder}: results.json is not of the study.toml beside it")
    scored = {n.name: frozen_network(folder, study, results, n) for n in _networks(study, results, name)}
    model = frozen_model(study, results, name, {network: described for network, (described, _) in scored.items()})
    weights = {network: content for network, (_, content) in scored.items()}
    content = pack_model(model, model_readme(model), _signer(folder, hub), weights)
    try:
        write_whole(to, content, 0o644)
    except OSError as error:
        raise FedmviError(785, f"{to}: {error.strerror}") from error
    return model


def frozen_model(
    study: Study, results: Results, name: str, networks: Mapping[str, FrozenNetwork] | None = None
) -> FrozenModel:
    """The model of that name as its results tell it; error 780 if it was not fitted, 120 if it harmonises features.

    `networks` are those whose scores are among its inputs, by their names.
    """
    corrected = declared_recalibration(study, name)
    if corrected is not None:
        return recalibrated_model(results, corrected, frozen_model(study, results, corrected.model, networks))
    fitted = {parts.name: parts for parts in models(results) if _usable(parts)}
    declared = {model.name: model for model in study.models}
    if name in declared and declared[name].harmonise is not None:
        raise FedmviError(120, model=name)
    if name not in fitted:
        near = get_close_matches(name, fitted, n=1)
        corrections = [one.name for one in study.recalibrations if one.model in fitted]
        known = ", ".join(dict.fromkeys([*near, *fitted, *corrections])) or "none was fitted"
        why = next((p.coefficients.note for p in models(results) if p.name == name and p.coefficients), "")
        raise FedmviError(780, why, model=name, known=known)
    parts, fit = fitted[name], fitted[name].coefficients
    if fit is None or fit.model is None:
        raise FedmviError(780, model=name, known=name)
    return _frozen(study, results, parts, fit, fit.model, declared[name], networks or {})


def _usable(parts: ModelParts) -> bool:
    fit = parts.coefficients
    return fit is not None and fit.status == "estimated" and fit.model is not None


def _networks(study: Study, results: Results, name: str) -> list[Network]:
    """The networks whose scores are inputs of a model; none of one that was not fitted."""
    fit = next((parts.coefficients for parts in models(results) if parts.name == name), None)
    inputs = fit.model.predictors if fit is not None and fit.model is not None else []
    found = (named_network(study, of_score(p.variable)) for p in inputs if is_score(p.variable))
    return list({network.name: network for network in found if network is not None}.values())


def _frozen(
    study: Study,
    results: Results,
    parts: ModelParts,
    fit: Result,
    usable: LogisticModel,
    declared: Model,
    networks: Mapping[str, FrozenNetwork],
) -> FrozenModel:
    measured = [p for p in usable.predictors if not is_score(p.variable)]
    if declared.missing != "complete-case" and usable.filling is None and declared.reduction is None and measured:
        why = "the run is of a version that did not keep how missing values are filled: run it again"
        raise FedmviError(780, why, model=declared.name, known="models for complete cases")
    inputs = tuple(_input(study, parts, p) for p in usable.predictors)
    terms = tuple(column.name for one in inputs for column in one.columns)
    of_term = {e.term: e.value for e in fit.estimates if e.name == "coef" and e.value is not None}
    scores = _scores(study, results, usable, networks)
    chosen, rule = _cutoff(results, declared.name, fit)
    return FrozenModel(
        intended_use=intended_use(simulated=results.simulated),
        name=declared.name,
        title=declared.title,
        endpoint=usable.endpoint,
        timing=declared.timing,
        inputs=inputs,
        terms=terms,
        # A LASSO may leave a level of a variable out: its coefficient is 0.
        coefficients=(of_term["intercept"], *(of_term.get(term, 0.0) for term in terms)),
        covariance=tuple(tuple(row) for row in usable.covariance) or None,
        missing="complete-case" if usable.filling is None else declared.missing,
        filling=usable.filling,
        cutoff=chosen,
        cutoff_rule=rule,
        origin=_origin(results, fit),
        performance=tuple(_performance(results, parts)),
        preparation=study.preparation if _from_images(inputs, scores) else None,
        scores=scores,
    )


def _from_images(inputs: tuple[Input, ...], scores: Mapping[str, FrozenModel | FrozenNetwork]) -> bool:
    """Whether anything that the model needs is computed from images."""
    parts = scores.values()
    return any(
        FEATURE.fullmatch(one.variable.name)
        for one in (*inputs, *(one for part in parts if isinstance(part, FrozenModel) for one in part.inputs))
    ) or any(isinstance(part, FrozenNetwork) for part in parts)


def _scores(
    study: Study, results: Results, usable: LogisticModel, networks: Mapping[str, FrozenNetwork]
) -> dict[str, FrozenModel | FrozenNetwork]:
    """What computes the inputs that are scores; the preparation of images is that of the whole."""
    found: dict[str, FrozenModel | FrozenNetwork] = {}
    for name in (p.variable for p in usable.predictors if is_score(p.variable)):
        if of_score(name) in networks:
            found[name] = networks[of_score(name)]
        else:
            found[name] = frozen_model(study, results, usable.scores[name]).model_copy(update={"preparation": None})
    return found


def _input(study: Study, parts: ModelParts, predictor: Predictor) -> Input:
    spread = estimate(parts.moments, "std", predictor.terms[0])
    known = predictor.coding in NUMBERS and spread is not None and spread.value is not None
    usual = usual_values(parts, predictor) if known else None
    variable = study.variable(predictor.variable)
    return Input(variable=variable, coding=predictor.coding, cutoff=predictor.cutoff, usual=usual)


def _cutoff(results: Results, model: str, fit: Result) -> tuple[float | None, str]:
    """The cut-off that the study froze for the model in its training cohort, and how."""
    for result in results.results:
        if result.statistic == "analysis" and result.kind == "cut-off":
            for e in result.estimates:
                if e.name == "cutoff" and e.term == model and e.value is not None:
                    return e.value, "Youden's index in the training cohort"
    frozen = next((e for e in fit.estimates if e.name == "cutoff"), None)
    return (None, "") if frozen is None else (frozen.value, frozen.note)


def _origin(results: Results, fit: Result) -> Origin:
    return Origin(
        study=results.study,
        title=results.title,
        sources=tuple(results.sources),
        simulated=results.simulated,
        study_fingerprint=results.study_fingerprint,
        code_fingerprint=results.code_fingerprint,
        preparation_fingerprint=results.preparation_fingerprint,
        cohort=fit.cohort,
        sites=tuple(fit.sites),
        left_out=tuple(results.left_out),
        n=fit.n,
        events=fit.events,
        how=fit.how,
    )


def _performance(results: Results, parts: ModelParts) -> Iterator[Performance]:
    """Its area in every cohort, and what analyses tell of its scores."""
    for result in (*parts.aucs, *(r for r in results.results if r.kind in _ON_SCORES)):
        told = [e for e in result.estimates if e.name != "cutoff" and (e.term == parts.name or result in parts.aucs)]
        if result not in parts.aucs and not told:
            continue
        yield Performance(
            statistic=result.kind or result.statistic,
            cohort=result.cohort,
            role=next(c.role for c in results.cohorts if c.name == result.cohort),
            sites=tuple(result.sites),
            how=result.how,
            status=result.status,
            n=result.n,
            events=result.events,
            measures=tuple(Measure(name=e.name, value=e.value, low=e.low, high=e.high) for e in told),
            note=result.note,
        )


def _signer(folder: Path, hub: Path | None) -> Signer | None:
    """The coordinator's key of the hub that is named, or whose folder of runs the run lies in."""
    place = folder.resolve().parent.parent if hub is None else hub
    if hub is None and not (place / "hub.toml").is_file():
        return None
    return Signer.read(load_hub(place).coordinator_key)

"""server/study: conducts a study: its steps in order over a port, from opening to `results.json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from common.errors import FedmviError
from common.federation.envelope import reported_error
from common.federation.query import Receipt, perform
from common.federation.runner import Conclusion, Port, conclude, together
from common.federation.tasks import Freeze, Open, Sign, SignedKey
from common.published.results import CohortFacts, Result, Results, VariableFacts
from common.study.comparing import frozen_names
from common.study.fingerprint import canonical_json, code_fingerprint, preparation_fingerprint, study_fingerprint
from common.study.modelling import is_score
from common.study.protocol import Study
from common.study.scoring import frozen_prefixes
from common.study.taking_part import taking_part
from server.study import (
    acquisition,
    analyses,
    centres,
    characteristics,
    comparisons,
    drop,
    drop_results,
    evaluation,
    expression,
    expression_results,
    harmonise_results,
    hazards,
    leave_one_out,
    leave_one_out_results,
    model_results,
    models,
    network_adaptation,
    network_adaptation_results,
    network_centres,
    network_choices,
    network_development,
    network_drop,
    network_evaluation,
    network_pictures,
    network_projection,
    network_results,
    recalibration,
    recalibration_results,
    reduced_results,
    score_analyses,
    shift,
    shift_results,
    steps,
    subgroups,
    time_analyses,
    withholding,
)
from server.study import reduced as reduced_models
from server.study.checkpoints import Checkpoints, MemoryCheckpoints
from server.study.count_tables import publish as publish_counts
from server.study.counts import count
from server.study.gene_sets import Sets
from server.study.leave_one_out import LeftOut
from server.study.models import ScoredModel
from server.study.network_development import Developed
from server.study.published import Published, left_out, not_sequenced, published_counts
from server.study.reduced import Chosen, ReducedModel
from server.study.score_inputs import Scores


@dataclass(frozen=True)
class Conducted:
    """A finished study: what is published, the sites' receipts for `run.json`, and the networks of `[[networks]]`."""

    results: Results
    opened: dict[str, Receipt]
    frozen: dict[str, Receipt]
    networks: list[Developed | FedmviError]


def conduct(
    protocol: Study,
    port: Port,
    progress: Callable[[str], None],
    checkpoints: Checkpoints | None = None,
    *,
    without: Collection[str] = (),
    met: Callable[[dict[str, Receipt]], None] = lambda _: None,
    sets: Sets | None = None,
) -> Conducted:
    """Run all steps: open, count, fit and train, freeze, evaluate, compare.

    Models and networks are frozen at every site before any closed cohort is looked at. Networks are trained in the
    rounds in which models are fitted, and go on from their checkpoints where there are some.

    Parameters
    ----------
    without
        Sites of the protocol that stayed away: the study is conducted over the others.
    met
        Is told the receipts of the opening, before anything is asked about patients.
    sets
        The gene sets that the protocol names, if it names some.
    """
    kept = MemoryCheckpoints() if checkpoints is None else checkpoints
    study = taking_part(protocol, without)
    progress(steps.OPEN)
    opened = conclude(port, [open_run(protocol)])[0]
    met(opened)
    progress(steps.COUNT)
    counts = conclude(port, [count(study)])[0]
    published = published_counts(study, counts)
    results: list[Result] = publish_counts(study, counts, published)
    progress(steps.FIT)
    reduced, plain, analysed, by_group, networks, without_each = conclude(
        port,
        [
            reduced_models.reduce_all(study),
            models.fit_all(study),
            analyses.analyse(study),
            time_analyses.analyse_times(study),
            network_development.develop_all(study, kept, progress),
            leave_one_out.leave_one_centre_out(study),
        ],
    )
    looked, differing = conclude(port, [withholding.look(study, [*reduced, *plain], counts)])[0]
    without_each, chosen = _chosen(study, without_each, reduced, withholding.withheld_everywhere(study, differing))
    known = Scores.of(study, reduced, chosen, networks)
    on_others = conclude(port, [models.fit_all(study, known)])[0]
    fitted = _in_order(study, [*reduced, *plain, *on_others])
    results += _published_models(study, fitted, chosen, published)
    adapting = conclude(port, [network_adaptation.make_rules(study, networks, kept)])[0]
    groups, regressed = hazards.groups_of(study, fitted, known)
    expressed = expression.groups_of(study, fitted, known)
    progress(steps.FREEZE)
    scores = _frozen(study, fitted, known, adapting) | comparisons.frozen_groups(groups)
    scores |= comparisons.frozen_groups(regressed) | expression.frozen_groups(expressed)
    named = sorted([*(comparison.name for comparison in study.comparisons), *frozen_names(study)])
    manifest = Freeze(
        tuple(sorted(scores)), tuple(named), "" if without_each is None else without_each.chosen,
        withholding.withhold(study, differing),
        network_choices.chosen_networks(study, networks),
    )  # fmt: skip
    # Where nothing is frozen nothing is looked at, and no closed cohort counts as opened.
    frozen = conclude(port, [_perform(manifest)])[0] if manifest.scores or manifest.comparisons else {}
    if frozen and study.recalibrations:
        progress(steps.CORRECT)
    recalibrated = conclude(port, [_corrected(study, fitted, networks, kept, manifest, looked)])[0] if frozen else []
    progress(steps.EVALUATE)
    # What networks score is there before models and groups use it.
    in_cohorts = conclude(port, [network_evaluation.evaluate_all(study, networks, kept)])[0]
    evaluated, compared, on_scores, in_subgroups, described, acquired, seen, corrected, apart, genes = conclude(
        port,
        [
            evaluation.evaluate(study, fitted),
            hazards.compare_survival(study, groups, regressed),
            score_analyses.analyse_scores(study, fitted, known),
            subgroups.analyse_subgroups(study, fitted),
            characteristics.describe(study, published),
            acquisition.acquisitions(study, published),
            shift.look_again(study, fitted, looked),
            recalibration.evaluate_corrections(study, recalibrated),
            together(centres.by_centre(study, fitted), drop.split_drops(study, fitted)),
            expression.compare_expression(study, expressed),
        ],
    )
    pictured, projected, adapted, of_hospitals, falls_of_networks = conclude(
        port,
        [
            network_pictures.explain_all(networks, kept, progress),
            network_projection.project_all(study, networks, in_cohorts),
            network_adaptation.adapt_all(study, adapting),
            network_centres.by_centre(study, networks, in_cohorts),
            network_drop.split_drops(study, networks, in_cohorts),
        ],
    )
    endpoints = {model.name: model.endpoint for model in study.models}
    results += [left_out(result, published, endpoints[result.id.split(".")[1]]) for result in evaluated]
    for model in fitted:
        results += reduced_results.publish_optimism(study, model, evaluated)
    results += harmonise_results.publish_harmonisation(study, fitted, evaluated, differing, counts)
    results += [*compared, *analysed, *by_group, *on_scores, *in_subgroups, *described, *acquired]
    results += shift_results.publish_shift(study, seen)
    results += leave_one_out_results.publish_left_out(study, without_each)
    in_centres, falls = apart
    results += centres.publish_centres(study, in_centres, drop.tables_of(falls))
    results += drop_results.publish_drops(study, falls, evaluated)
    results += recalibration_results.publish_recalibrations(study, recalibrated)
    results += recalibration_results.publish_evaluations(study, corrected)
    of_networks = [_excluded(study, r, published) for r in network_results.publish_all(study, networks, in_cohorts)]
    results += [
        *of_networks,
        *network_centres.publish_by_centre(study, of_hospitals),
        *network_projection.publish_projections(study, networks, projected),
        *network_adaptation_results.publish_adaptations(study, adapting, adapted),
        *network_choices.publish_network_choices(study, networks),
        *network_drop.publish_drops(study, falls_of_networks, of_networks),
    ]
    results += network_pictures.publish_pictures(study, networks, pictured)
    results += [not_sequenced(r, published) for r in expression_results.publish_expression(study, genes, sets)]
    return Conducted(_results(protocol, study, results, opened), opened, frozen, networks)


def _chosen(
    study: Study, without_each: LeftOut | None, reduced: Sequence[ReducedModel], barred: frozenset[str]
) -> tuple[LeftOut | None, list[Chosen]]:
    """The remedy and the models that are taken, none of which nobody is to be scored by."""
    return withholding.without_withheld(without_each, barred), reduced_models.choose_all(study, reduced, barred)


def _corrected(
    study: Study,
    fitted: Sequence[ScoredModel],
    networks: Sequence[Developed | FedmviError],
    kept: Checkpoints,
    manifest: Freeze,
    looked: shift.Looked | None,
) -> Conclusion[list[recalibration.Recalibrated]]:
    """Corrections of risks; what networks score of their patients is there before."""
    yield from network_evaluation.score_calibrations(study, networks, kept)
    return (yield from recalibration.correct(study, fitted, manifest, looked))


def _frozen(
    study: Study,
    fitted: Sequence[ScoredModel],
    known: Scores,
    adapting: Sequence[network_adaptation.Rule | FedmviError | None],
) -> set[str]:
    """Digests of what makes scores and cut-offs of models, networks, and analyses of them."""
    recipes = [recipe for model in fitted for recipe in (model.scoring, model.training) if recipe is not None]
    scores = {digest for recipe in recipes for digest in frozen_prefixes(recipe)}
    scores |= score_analyses.frozen_with(study, fitted, known) | subgroups.frozen_subgroups(study, fitted)
    networks = tuple(known.networks.values())
    scores |= {model for network in networks if isinstance(network, Developed) for model in network.models}
    scores |= network_centres.frozen_cutoffs(study, networks)
    return scores | centres.frozen_with_centres(study, fitted) | network_adaptation.frozen_models(adapting)


def _in_order(study: Study, models_: Sequence[ScoredModel]) -> list[ScoredModel]:
    """As the protocol has them."""
    names = [model.name for model in study.models]
    return sorted(models_, key=lambda one: names.index(one.model.name))


def _published_models(
    study: Study, fitted: Sequence[ScoredModel], chosen: Sequence[Chosen], published: Published
) -> list[Result]:
    found = []
    for model in fitted:
        parts = (
            reduced_results.publish_reduced(study, model)
            if isinstance(model, ReducedModel)
            else model_results.publish(study, model)
        )
        found += [left_out(result, published, model.model.endpoint) for result in parts]
    return [*found, *(reduced_results.publish_choice(study, one) for one in chosen)]


def _excluded(study: Study, result: Result, published: Published) -> Result:
    """A network's performance with the patients counted who could not be scored."""
    network = next(n for n in study.networks if n.name == result.id.split(".")[1])
    if network.development == "published" and result.cohort == network.cohort:
        return result  # one tenth of the cohort was scored, on purpose
    return left_out(result, published, network.binary, "a sequence is missing")


def plan(
    protocol: Study,
    port: Port,
    met: Callable[[dict[str, Receipt]], None] = lambda _: None,
    *,
    without: Collection[str] = (),
) -> Results:
    """Open and count only: patients, events, sample size; nothing is fitted and no closed cohort is looked at.

    `met` and `without` as in `conduct`.
    """
    study = taking_part(protocol, without)
    opened = conclude(port, [open_run(protocol)])[0]
    met(opened)
    counts = conclude(port, [count(study)])[0]
    return _results(protocol, study, publish_counts(study, counts, published_counts(study, counts)), opened)


def open_run(study: Study) -> Conclusion[dict[str, Receipt]]:
    """Let every site sign the rosters, and open the run with what all have signed; two rounds.

    Raises
    ------
    FedmviError
        Those of `check_receipts`.
    """
    protocol, code = canonical_json(study.model_dump(mode="json")), code_fingerprint()
    receipts = yield from _perform(Sign(protocol, code))
    check_receipts(receipts)
    opened = yield from _perform(Open(protocol, code, signed_keys(receipts)))
    check_receipts(opened)
    return opened


def signed_keys(receipts: Mapping[str, Receipt]) -> tuple[SignedKey, ...]:
    """What the sites that mask have signed, in the order of their names."""
    return tuple(
        SignedKey(
            site,
            str(receipt["mask_key"]),
            str(receipt["patients"]),
            receipt.get("alone") == "yes",
            receipt.get("tells") == "yes",
            str(receipt["hides"]),
            str(receipt["signature"]),
        )
        for site, receipt in sorted(receipts.items())
        if {"mask_key", "patients", "hides", "signature"} <= set(receipt)
    )


def check_receipts(opened: dict[str, Receipt]) -> None:
    """Every site must be the one that was addressed, and run the same code as we do.

    Raises
    ------
    FedmviError
        412 another site answered, 502 other code, 418 only some sites mask their sums.
    """
    ours = code_fingerprint()
    if len({receipt.get("masks") for receipt in opened.values()}) > 1:
        raise FedmviError(418, ", ".join(f"{site}: {receipt.get('masks')}" for site, receipt in opened.items()))
    for site, receipt in opened.items():
        if receipt.get("site") != site:
            raise FedmviError(412, f"site {site} answered as {str(receipt.get('site'))[:64]!r}")
        if receipt.get("code") != ours:
            raise FedmviError(502, f"site {site}")


def _perform(task: Sign | Open | Freeze) -> Conclusion[dict[str, Receipt]]:
    receipts: dict[str, Receipt] = yield perform(task)
    return receipts


def _under_limits(opened: dict[str, Receipt]) -> list[str]:
    """Sentences of the sites' own warnings; a receipt that is malformed is error 501."""
    sentences = []
    for site, receipt in sorted(opened.items()):
        try:
            hints = json.loads(str(receipt.get("under_limits", "[]")))
            errors = [reported_error(int(hint["number"]), dict(hint["facts"]), site) for hint in hints]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise FedmviError(501, f"site {site}: receipt") from error
        sentences += [f"{site}: {error.code} {error.what}" for error in errors]
    return sentences


def _how(result: Result, opened: dict[str, Receipt]) -> Result:
    """A total says whether it came under masks; what sites show on their own does not."""
    masked = all(receipt.get("masks") == "required" for receipt in opened.values())
    total = masked and result.how in ("exact", "federated")
    return result.model_copy(update={"how": f"{result.how}-masked"}) if total else result


def _results(protocol: Study, study: Study, results: list[Result], opened: dict[str, Receipt]) -> Results:
    head = study.study
    return Results(
        study=head.name,
        title=head.title,
        description=head.description,
        simulated=head.simulated,
        sources=list(head.sources),
        study_fingerprint=study_fingerprint(protocol),
        code_fingerprint=code_fingerprint(),
        preparation_fingerprint=preparation_fingerprint(protocol),
        min_cell=study.limits.min_cell,
        cohorts=[CohortFacts(name=c.name, role=c.role, sites=sorted(c.sites)) for c in study.cohorts],
        left_out=sorted(set(protocol.sites()) - set(study.sites())),
        variables={name: _facts(study, name) for name in (*study.variable_names(), *_score_names(study))},
        under_limits=_under_limits(opened),
        reporting=protocol.reporting,
        preparation=protocol.preparation,
        results=[_how(result, opened) for result in results],
    )


def _score_names(study: Study) -> list[str]:
    """Predictors that are scores."""
    return sorted({term.variable for model in study.models for term in model.predictors if is_score(term.variable)})


def _facts(study: Study, name: str) -> VariableFacts:
    variable = study.variable(name)
    reference = next(iter(variable.level_names), "")
    return VariableFacts(title=variable.title, unit=variable.unit, reference=reference)

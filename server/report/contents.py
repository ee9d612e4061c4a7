"""server/report: reads `results.json` by the things a report speaks of: models, cohorts, groups, predictors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from common.published.format import MISSING, per, plain, unit
from common.published.results import Estimate, Result, Results, Statistic

PREDICTION_ROLES = ("train", "internal-test", "calibration", "external-test")
"""A patient has one of these roles in a study, so that their cohorts can be added up."""

_TITLE_PREFIXES = (
    "Sample size for ", "All predictors together, ", "Each predictor alone, ", "Predictors, ", "Formula, ",
    "Predictors left after each step, ", "Coefficients of the LASSO, ", "Cross-validated discrimination, ",
)  # fmt: skip


@dataclass
class ModelParts:
    """The results of one model."""

    name: str
    title: str
    sample_size: Result | None = None
    moments: Result | None = None
    univariable: Result | None = None
    coefficients: Result | None = None
    reduction: Result | None = None
    cross_validated: Result | None = None
    optimism: Result | None = None
    aucs: list[Result] = field(default_factory=list)
    evaluation_sizes: list[Result] = field(default_factory=list)

    @property
    def fits(self) -> tuple[Result | None, Result | None]:
        """Each predictor alone, and all together."""
        return self.univariable, self.coefficients


_PARTS: dict[Statistic, str] = {
    "sample-size": "sample_size",
    "moments": "moments",
    "univariable-logistic": "univariable",
    "multivariable-logistic": "coefficients",
    "feature-reduction": "reduction",
    "cross-validated-auc": "cross_validated",
    "optimism": "optimism",
}


def of(results: Results, *statistics: Statistic) -> list[Result]:
    """The results of these kinds, in the order of the study."""
    return [result for result in results.results if result.statistic in statistics]


def models(results: Results) -> list[ModelParts]:
    """The models, in the order of the study, each with what is known of it."""
    found: dict[str, ModelParts] = {}
    for result in of(results, "evaluation-size", "auc", *_PARTS):
        name = result.id.split(".")[1]
        parts = found.setdefault(name, ModelParts(name, name))
        if result.statistic == "auc":
            parts.aucs.append(result)
        elif result.statistic == "evaluation-size":
            parts.evaluation_sizes.append(result)
        else:
            setattr(parts, _PARTS[result.statistic], result)
        for prefix in _TITLE_PREFIXES:
            if parts.title == name and result.statistic != "evaluation-size" and result.title.startswith(prefix):
                parts.title = plain(result.title.removeprefix(prefix))
    return list(found.values())


def estimate(result: Result | None, name: str, term: str | None = None) -> Estimate | None:
    """The estimate of that name, and of that term if one is given."""
    for found in result.estimates if result is not None else ():
        if found.name == name and term in (None, found.term):
            return found
    return None


def interval_words(found: Estimate | None, decimals: int) -> str:
    """An estimate with its interval, where it has one."""
    if found is None or found.value is None:
        return MISSING
    if found.low is None or found.high is None:
        return f"{found.value:.{decimals}f}"
    return f"{found.value:.{decimals}f} ({found.low:.{decimals}f} to {found.high:.{decimals}f})"


def terms(*parts: Result | None) -> list[str]:
    """The predictors that some results of a model speak of, in order; the intercept is none."""
    named = (e.term for result in parts if result for e in result.estimates if e.name in ("mean", "odds_ratio"))
    return list(dict.fromkeys(named))


def where(result: Result) -> str:
    """The cohort of a result, with the site that answered alone."""
    alone = result.how == "site-alone" and len(result.sites) == 1
    return plain(f"{result.cohort}, {result.sites[0]}" if alone else result.cohort)


def role(results: Results, cohort: str) -> str:
    """The role of a cohort."""
    return next((c.role for c in results.cohorts if c.name == cohort), "")


def prediction_cohorts(results: Results) -> list[str]:
    """The cohorts that share no patient."""
    return [c.name for c in results.cohorts if c.role in PREDICTION_ROLES]


def all_sites(results: Results) -> list[str]:
    """Every site of the study."""
    return sorted({site for cohort in results.cohorts for site in cohort.sites})


def groups(result: Result) -> list[str]:
    """The groups of a survival result, as its estimates name them."""
    named = [e.term for e in result.estimates if e.name == "patients"] or [c.name for c in result.curves]
    return list(dict.fromkeys(named))


def short_groups(result: Result) -> tuple[str, list[str]]:
    """What the groups have in common, such as `Microvascular invasion`, and what tells them apart."""
    names = groups(result)
    heads = {name.partition(": ")[0] for name in names if ": " in name}
    if len(heads) == 1 and all(": " in name for name in names):
        return plain(heads.pop()), [plain(name.partition(": ")[2]) for name in names]
    return "", [plain(name) for name in names]


class Labels:
    """How predictors are printed: `afp>20` as `AFP > 20 ng/mL`, `sex=male` as `Sex: male v female`."""

    def __init__(self, results: Results) -> None:
        self._variables = results.variables
        moments: Iterable[Result] = of(results, "moments")
        self._units = {e.term: e.unit for result in moments for e in result.estimates if e.name == "mean"}

    def variable(self, name: str) -> str:
        """A variable."""
        facts = self._variables.get(name)
        return plain(facts.title if facts else name.replace("_", " "))

    def term(self, term: str) -> str:
        """A predictor as it enters a model."""
        name, found, cutoff = term.partition(">=")
        if found:
            return f"{self.variable(name)}, at or above its {plain(cutoff)}"
        name, found, cutoff = term.partition(">")
        if found:
            facts = self._variables.get(name)
            return f"{self.variable(name)} > {plain(cutoff)} {unit(facts.unit) if facts else ''}".rstrip()
        name, found, level = term.partition("=")
        if found:
            facts = self._variables.get(name)
            against = f" v {plain(facts.reference)}" if facts and facts.reference not in ("", "no") else ""
            return f"{self.variable(name)}: {plain(level)}{against}"
        for function in ("log", "asinh"):
            if term.startswith(f"{function}(") and term.endswith(")"):
                return f"{function} {self.variable(term.removeprefix(f'{function}(').removesuffix(')'))}"
        return self.variable(term)

    def effect(self, term: str) -> str:
        """A predictor beside its odds ratio: a measured one with the step that the ratio is for."""
        if self.is_share(term):
            return self.term(term)
        return f"{self.term(term)}, {per(self._units.get(term, ''))}"

    @staticmethod
    def is_share(term: str) -> bool:
        """Whether the predictor is 0 or 1, so that its mean is a share."""
        return "=" in term or ">" in term

"""simulation: laboratory values of the TCGA-LIHC table in one unit each, by stated rules.

The source (TCGA biospecimen core resource forms) records each test with the laboratory's lower and upper limit of
normal and no unit, so centres mix units. The limits say which scale was used; the value itself decides where the
limits are missing or contradict it. No rule looks at an outcome. `RULES` states every rule; an import counts them.

Conversions are those of the dictionary: bilirubin 1 mg/dL = 17.104 umol/L, creatinine 1 mg/dL = 88.40 umol/L,
albumin 1 g/dL = 10 g/L, platelets 1000/uL = 1e9/L. Converted values are rounded to 0.1 umol/L (bilirubin),
1 umol/L (creatinine) and 0.1 g/L (albumin), each finer than what was recorded.
"""

from __future__ import annotations

from collections.abc import Mapping

from simulation.importers.source import CleaningRule, Tally, decimal, number

_LIMITS = {
    "platelets": (
        "laboratory_prcoedure_platelet_result_lower_limit_of_normal_value",
        "laboratory_prcoedure_platelet_result_upper_limit_of_normal_value",
    ),
    "albumin": (
        "laboratory_procedure_albumin_result_lower_limit_of_normal_value",
        "laboratory_procedure_albumin_result_upper_limit_of_normal_value",
    ),
    "total_bilirubin": (
        "laboratory_procedure_total_bilirubin_result_specified_lower_limit_of_normal_value",
        "laboratory_procedure_total_bilirubin_result_upper_limit_normal_value",
    ),
    "coagulation": (
        "laboratory_procedure_international_normalization_ratio_result_lower_limit_of_normal_value",
        "laboratory_procedure_international_normalization_ratio_result_upper_limit_of_normal_value",
    ),
    "creatinine": (
        "laboratory_procedure_creatinine_result_lower_limit_of_normal_value",
        "laboratory_procedure_creatinine_result_upper_limit_of_normal_value",
    ),
    "afp": (
        "laboratory_procedure_alpha_fetoprotein_outcome_lower_limit_of_normal_value",
        "laboratory_procedure_alpha_fetoprotein_outcome_upper_limit_of_normal_value",
    ),
}
_VALUES = {
    "platelets": "lab_procedure_platelet_result_specified_value",
    "albumin": "laboratory_procedure_albumin_result_specified_value",
    # Named like a limit; it holds the measured bilirubin (the limit has its own, differently named column).
    "total_bilirubin": "laboratory_procedure_total_bilirubin_result_specified_upper_limit_of_normal_value",
    "coagulation": "laboratory_procedure_prothrombin_time_result_value",
    "creatinine": "hematology_serum_creatinine_laboratory_result_value_in_mg_dl",
    "afp": "laboratory_procedure_alpha_fetoprotein_outcome_value",
}

COLUMNS: tuple[str, ...] = (*_VALUES.values(), *(name for pair in _LIMITS.values() for name in pair))
"""Source columns that `laboratory` reads."""

RULES: tuple[CleaningRule, ...] = (
    CleaningRule(
        "platelets-per-ul",
        "platelets",
        "repaired",
        "a value above 1500 is per uL and divided by 1000; the dictionary's range ends at 1500e9/L",
    ),
    CleaningRule(
        "platelets-other-test",
        "platelets",
        "set missing",
        "an upper limit of normal below 50 belongs to another test",
    ),
    CleaningRule("albumin-g-per-dl", "albumin", "repaired", "limits of normal of 2 to 10 are g/dL: times 10"),
    CleaningRule(
        "albumin-mg-per-dl", "albumin", "repaired", "an upper limit of normal above 1000 is mg/dL: times 0.01"
    ),
    CleaningRule(
        "albumin-no-limits",
        "albumin",
        "repaired",
        "without limits of normal, a value of 1 to 10 is g/dL: times 10",
    ),
    CleaningRule(
        "albumin-coarse",
        "albumin",
        "set missing",
        "an upper limit of normal below 1 means tenths of g/dL with one digit: 0.4 stands for anything from 35 to "
        "45 g/L, on either side of the cut-off of 40 g/L",
    ),
    CleaningRule(
        "albumin-implausible",
        "albumin",
        "set missing",
        "below half the lower or above 1.15 times the upper limit of normal (35 to 50 g/L where none is given): "
        "serum albumin does not rise; such values fit total protein",
    ),
    CleaningRule(
        "bilirubin-mg-per-dl",
        "total_bilirubin",
        "repaired",
        "an upper limit of normal below 10, or none, means mg/dL: times 17.104",
    ),
    CleaningRule(
        "bilirubin-ambiguous",
        "total_bilirubin",
        "set missing",
        "more than 5 times the upper limit of normal in mg/dL, yet normal (at most 21) in umol/L: unit in doubt",
    ),
    CleaningRule(
        "coagulation-inr",
        "inr",
        "repaired",
        'a "prothrombin time" below 3 whose upper limit of normal is at most 3, or is not given, is an INR',
    ),
    CleaningRule(
        "coagulation-seconds",
        "prothrombin_time",
        "kept",
        "a value of at least 6 whose upper limit of normal is at least 10, or is not given, is in seconds",
    ),
    CleaningRule(
        "coagulation-contradiction",
        "prothrombin_time",
        "set missing",
        "the value and its limits of normal do not belong to one scale: neither seconds nor INR is believed",
    ),
    CleaningRule(
        "creatinine-mg-per-dl",
        "creatinine",
        "repaired",
        "a lower limit of normal below 2, or none, means mg/dL: times 88.40; one of 40 or more means umol/L",
    ),
    CleaningRule(
        "creatinine-other-test",
        "creatinine",
        "set missing",
        "a lower limit of normal of 2 to 40 belongs to another test (4.1 to 5.8 is a red cell count)",
    ),
    CleaningRule(
        "creatinine-implausible",
        "creatinine",
        "set missing",
        "no limits of normal, and more than 5 mg/dL: unit in doubt",
    ),
    CleaningRule(
        "afp-unit-in-doubt",
        "afp",
        "set missing",
        "an upper limit of normal above 25 is not one of AFP in ng/mL: unit in doubt",
    ),
    CleaningRule(
        "afp-extreme",
        "afp",
        "kept",
        "above 1,000,000 ng/mL, within the dictionary's range; use a cut-off or a logarithm",
    ),
)


def laboratory(row: Mapping[str, str], tally: Tally, where: str) -> dict[str, str]:
    """The laboratory cells of one patient in the dictionary's units.

    Parameters
    ----------
    row
        A row of the source, as text.
    tally
        Counts the rules of `RULES`.
    where
        File and patient, for the local part of an error.

    Returns
    -------
    dict
        platelets (1e9/L), albumin (g/L), total_bilirubin (umol/L), inr, prothrombin_time (s), creatinine (umol/L)
        and afp (ng/mL); "" where missing.
    """

    value = {test: number(row[column], test, where) for test, column in _VALUES.items()}
    low = {test: number(row[pair[0]], test, where) for test, pair in _LIMITS.items()}
    high = {test: number(row[pair[1]], test, where) for test, pair in _LIMITS.items()}
    inr, seconds = _coagulation(value["coagulation"], high["coagulation"], tally)
    albumin = _albumin(value["albumin"], low["albumin"], high["albumin"], tally)
    creatinine = _creatinine(value["creatinine"], low["creatinine"], high["creatinine"], tally)
    return {
        "afp": decimal(_afp(value["afp"], high["afp"], tally), 1),
        "albumin": decimal(albumin, 1),
        "platelets": decimal(_platelets(value["platelets"], high["platelets"], tally), 3),
        "inr": decimal(inr, 2),
        "prothrombin_time": decimal(seconds, 1),
        "total_bilirubin": decimal(_bilirubin(value["total_bilirubin"], high["total_bilirubin"], tally), 1),
        "creatinine": decimal(creatinine, 0),
    }


def _platelets(value: float | None, high: float | None, tally: Tally) -> float | None:
    if value is None:
        return None
    if high is not None and high < 50:
        tally.add("platelets-other-test")
        return None
    if value > 1500:
        # The value decides: some laboratories give limits per uL beside a value in 1e9/L, and the reverse.
        tally.add("platelets-per-ul")
        return value / 1000
    return value


def _albumin(value: float | None, low: float | None, high: float | None, tally: Tally) -> float | None:
    if value is None:
        return None
    if high is not None and high < 1:
        tally.add("albumin-coarse")
        return None
    factor, rule = 1.0, ""
    if high is not None and high > 1000:
        factor, rule = 0.01, "albumin-mg-per-dl"
    elif high is not None and 2 <= high <= 10:
        factor, rule = 10.0, "albumin-g-per-dl"
    elif high is None and 1 <= value <= 10:
        factor, rule = 10.0, "albumin-no-limits"
    lowest = 35.0 if low is None else low * factor
    highest = 50.0 if high is None else high * factor
    if not 0.5 * lowest <= value * factor <= 1.15 * highest:
        tally.add("albumin-implausible")
        return None
    if rule:
        tally.add(rule)
    return value * factor


def _bilirubin(value: float | None, high: float | None, tally: Tally) -> float | None:
    if value is None or (high is not None and high >= 10):
        return value
    # Where the limits are of conjugated bilirubin (0 to 0.2) a total of 1.5 is no contradiction: 1 mg/dL is the floor.
    if value > 5 * max(high or 0.0, 1.0) and value <= 21:
        tally.add("bilirubin-ambiguous")
        return None
    tally.add("bilirubin-mg-per-dl")
    return value * 17.104


def _coagulation(value: float | None, high: float | None, tally: Tally) -> tuple[float | None, float | None]:
    """(INR, seconds) of a column that mixes them."""
    if value is None:
        return None, None
    if value < 3 and (high is None or high <= 3):
        tally.add("coagulation-inr")
        return value, None
    if value >= 6 and (high is None or high >= 10):
        tally.add("coagulation-seconds")
        return None, value
    tally.add("coagulation-contradiction")
    return None, None


def _creatinine(value: float | None, low: float | None, high: float | None, tally: Tally) -> float | None:
    if value is None:
        return None
    if low is not None and low >= 40:
        return value
    if low is not None and low >= 2:
        tally.add("creatinine-other-test")
        return None
    if high is None and value > 5:
        tally.add("creatinine-implausible")
        return None
    tally.add("creatinine-mg-per-dl")
    return value * 88.40


def _afp(value: float | None, high: float | None, tally: Tally) -> float | None:
    if value is None:
        return None
    if high is not None and high > 25:
        tally.add("afp-unit-in-doubt")
        return None
    if value > 1e6:
        tally.add("afp-extreme")
    return value

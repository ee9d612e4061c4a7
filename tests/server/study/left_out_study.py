"""tests: four training hospitals that may be left out and two of test; models that are compared by hospital."""

from __future__ import annotations

import numpy as np

from tests.disclosure.consortium import STUDY, Row, rows_of
from tests.server.study.reduced_study import FEATURES, featured

FOUR = STUDY.replace('sites = ["a", "b", "c"]', 'sites = ["a", "b", "c", "d"]').replace('["d", "e", "f"]', '["e", "f"]')
ONE_MODEL = FOUR.partition('[[models]]\nname = "wide"')[0]
CLOSED = 'approved_studies = ["any"]\nrelease_alone = true\n'
OPEN = CLOSED + "may_be_left_out = true\n"


def shift(*models: str, leave: bool = True) -> str:
    named = ", ".join(f'"{name}"' for name in models)
    return f"\n[shift]\nmodels = [{named}]\nleave_one_centre_out = {str(leave).lower()}\n"


def model(name: str, predictors: str, further: str = "") -> str:
    return (
        f'\n[[models]]\nname = "{name}"\nendpoint = "mvi"\ncohort = "train"\npredictors = [{predictors}]\n'
        f'evaluate = ["external"]\n{further}'
    )


PLAIN = model("plain", '{ variable = "age", coding = "linear" }, "sex", "afp", "cirrhosis"')
MEAN = model("filled", '{ variable = "age", coding = "linear" }, "sex", "afp", "cirrhosis"', 'missing = "mean"\n')


def variables(names: tuple[str, ...]) -> str:
    return "".join(
        f'\n[[variables]]\nname = "{name}"\nkind = "continuous"\nknown = "preoperative"\nlow = -100.0\nhigh = 100.0\n'
        for name in names
    )


def reduced(features: tuple[str, ...] = FEATURES[:20]) -> str:
    named = ", ".join(f'"{feature}"' for feature in features)
    return variables(features) + model("radiomics", named, "reduction = { count = 12 }\n")


def signal(rows: list[Row]) -> None:
    """Age, AFP and cirrhosis go with the endpoint, differently from hospital to hospital."""
    site = rows[0]["patient_id"][0]
    rng = np.random.default_rng(700 + ord(site))
    rows[:] = rows_of(site, 120)
    for row in rows:
        linear = 0.08 * (float(row["age"]) - 55) + 1.2 * (float(row["afp"]) > 20) - 0.8 * (row["cirrhosis"] == "yes")
        linear += 0.4 * (ord(site) - ord("c"))
        row["mvi"] = str(int(rng.random() < 1.0 / (1.0 + np.exp(-linear))))


def with_features(rows: list[Row]) -> None:
    featured(rows)


def few_without_age(rows: list[Row]) -> None:
    """Two patients of site b lack age."""
    signal(rows)
    if rows[0]["patient_id"].startswith("b"):
        rows[3]["age"] = rows[8]["age"] = ""


def some_without_age(rows: list[Row]) -> None:
    """Nine patients of every hospital lack age."""
    signal(rows)
    for row in rows[:9]:
        row["age"] = ""


def scanned(rows: list[Row]) -> None:
    """Features as each hospital's scanner has them: another gain and offset at each."""
    featured(rows)
    site = ord(rows[0]["patient_id"][0]) - ord("a")
    for row in rows:
        for name in ("x00", "x03", "x07", "x21"):
            row[name] = f"{float(row[name]) * (0.3 + 0.5 * site) + 3.0 * ((site * 7) % 5 - 2):.6f}"

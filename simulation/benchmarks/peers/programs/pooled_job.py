"""simulation: benchmarks: peers: what a statistician does with the rows of all sites in one table.

`pooled_job.py --data FOLDER --out FILE --of statsmodels|scikit-learn|lifelines-curve|lifelines-cox`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Fit, and write what was found."""
    parser = argparse.ArgumentParser()
    for name in ("--data", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--of", choices=sorted(FITS), required=True)
    asked = parser.parse_args()
    parts = []
    for path in sorted(asked.data.glob("*.npz")):
        with np.load(path, allow_pickle=False) as rows:
            parts.append({name: rows[name] for name in rows.files})
    pooled = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    asked.out.write_text(json.dumps(FITS[asked.of](pooled)), encoding="utf-8")


def statsmodels(rows: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Maximum likelihood, to the last digit."""
    import statsmodels.api as sm

    fitted = sm.Logit(rows["y"], sm.add_constant(rows["x"])).fit(tol=1e-14, disp=0)
    return {"coefficients": np.asarray(fitted.params).tolist()}


def scikit_learn(rows: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """As it is by default, with its ridge penalty."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression().fit(rows["x"], rows["y"])
    return {"coefficients": [*fitted.intercept_.tolist(), *fitted.coef_.ravel().tolist()]}


def lifelines_curve(rows: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Kaplan-Meier."""
    from lifelines import KaplanMeierFitter

    curve = KaplanMeierFitter().fit(rows["time"], rows["event"]).survival_function_
    return {"times": curve.index.to_list(), "survival": curve.iloc[:, 0].to_list()}


def lifelines_cox(rows: dict[str, np.ndarray[Any, Any]]) -> dict[str, Any]:
    """Cox regression with Efron's ties, to the last digit."""
    import pandas as pd
    from lifelines import CoxPHFitter

    table = pd.DataFrame(rows["x"]).assign(time=rows["time"], event=rows["event"])
    fitted = CoxPHFitter().fit(table, "time", "event", fit_options={"precision": 1e-12})
    return {"coefficients": fitted.params_.to_list()}


FITS = {
    "statsmodels": statsmodels,
    "scikit-learn": scikit_learn,
    "lifelines-curve": lifelines_curve,
    "lifelines-cox": lifelines_cox,
}

if __name__ == "__main__":
    main()

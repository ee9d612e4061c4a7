"""simulation: the public tables on which exactness is measured, each as at least three uneven, unlike sites."""

from __future__ import annotations

from functools import cache

import numpy as np

from simulation.exactness.measuring import Table, public_data


@cache
def breast_cancer() -> Table:
    """569 patients, 30 features, as four sites of very different size and prevalence (UCI, in scikit-learn)."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    order = np.lexsort((data.data[:, 0], 1 - data.target))
    rows = np.concatenate([np.random.default_rng(0).permutation(order[:400]), order[400:]])
    names = [str(name).replace(" ", "_") for name in data.feature_names]
    columns = {name: data.data[rows, i].astype(np.float64) for i, name in enumerate(names)}
    outcome = (1 - data.target[rows]).astype(np.float64)
    site = np.repeat(np.arange(4), [45, 98, 156, 270])
    return Table("breast-cancer", "breast cancer, 4 sites", columns, {"y": outcome}, site)


@cache
def recidivism() -> Table:
    """432 men, weeks to arrest, by earlier convictions (Rossi et al. 1980, in lifelines), as five sites."""
    from lifelines.datasets import load_rossi

    data = load_rossi()
    names = ("fin", "age", "race", "wexp", "mar", "paro", "prio")
    columns = {name: data[name].to_numpy(np.float64) for name in names}
    columns["group"] = np.minimum(columns["prio"], 4)
    endpoints = {"os.time": data["week"].to_numpy(np.float64), "os.event": data["arrest"].to_numpy(np.float64)}
    return Table("recidivism", "recidivism, 5 sites", columns, endpoints, np.arange(len(data)) % 5)


@cache
def breast_recurrence() -> Table:
    """686 patients, 299 recurrences by the day (German Breast Cancer Study Group 2, in scikit-survival), four sites."""
    from sksurv.datasets import load_gbsg2

    data, outcome = load_gbsg2()
    columns = {
        "age": data["age"].to_numpy(np.float64),
        "size": data["tsize"].to_numpy(np.float64),
        "nodes": data["pnodes"].to_numpy(np.float64),
        "progesterone": np.log1p(data["progrec"].to_numpy(np.float64)),
        "oestrogen": np.log1p(data["estrec"].to_numpy(np.float64)),
        "hormone": (data["horTh"].astype(str) == "yes").to_numpy(np.float64),
        "group": data["tgrade"].astype(str).map({"I": 0, "II": 1, "III": 2}).to_numpy(np.float64),
    }
    order = np.argsort(columns["nodes"] + 3 * np.sin(np.arange(len(data))), kind="stable")
    columns = {name: values[order] for name, values in columns.items()}
    endpoints = {
        "os.time": outcome["time"].astype(np.float64)[order],
        "os.event": outcome["cens"].astype(np.float64)[order],
    }
    site = np.repeat(np.arange(4), [60, 120, 190, 316])
    return Table("breast-recurrence", "breast cancer recurrence, 4 sites", columns, endpoints, site)


@cache
def heart_disease() -> Table:
    """920 patients of four hospitals on three continents, with what each did not record missing (UCI)."""
    import pandas as pd

    names = ("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca",
             "thal", "num")  # fmt: skip
    folder = public_data("heart_disease_4centres")
    parts = [
        pd.read_csv(folder / f"processed.{centre}.data", names=list(names), na_values="?").assign(site=i)
        for i, centre in enumerate(("cleveland", "hungarian", "switzerland", "va"))
    ]
    data = pd.concat(parts, ignore_index=True)
    # A serum cholesterol of 0 stands for one that was not measured.
    data["chol"] = data["chol"].where(data["chol"] > 0)
    columns = {name: data[name].to_numpy(np.float64) for name in names[:-1]}
    outcome = (data["num"] > 0).to_numpy(np.float64)
    grade = np.minimum(data["num"], 2).to_numpy(np.float64)
    endpoints = {"y": outcome, "grade": grade}
    return Table("heart-disease", "heart disease, 4 centres", columns, endpoints, data["site"].to_numpy(np.int64))


@cache
def liver_resection() -> Table:
    """227 resected hepatocellular carcinomas, survival by tenths of a month (Li et al. 2014, in asaur), four sites."""
    import pandas as pd

    data = pd.read_csv(public_data("hcc_resection_asaur") / "hepatoCellular.csv")
    names = {"Age": "age", "Tumorsize": "size", "Gender": "sex", "Vascularinvasion": "group", "AFP": "afp"}
    columns = {ours: pd.to_numeric(data[theirs], errors="coerce").to_numpy(np.float64)
               for theirs, ours in names.items()}  # fmt: skip
    endpoints = {
        "os.time": data["OS"].to_numpy(np.float64),
        "os.event": data["Death"].to_numpy(np.float64),
        "rfs.time": data["RFS"].to_numpy(np.float64),
        "rfs.event": data["Recurrence"].to_numpy(np.float64),
        "y": columns["group"],
    }
    site = np.repeat(np.arange(4), [30, 45, 60, 92])
    return Table("liver-resection", "liver resection, 4 sites", columns, endpoints, site)


@cache
def liver_cancer() -> Table:
    """Resected hepatocellular carcinomas with vascular invasion none or micro, by centre (TCGA-LIHC); small centres
    are one site together."""
    import pandas as pd

    path = public_data("tcga_lihc") / "tcga_lihc_clinical_cdr.csv"
    data = pd.read_csv(path, keep_default_na=False, low_memory=False)
    data = data[data["vascular_tumor_cell_invasion_type"].isin(["None", "Micro"])].reset_index(drop=True)
    centre = data[next(c for c in data.columns if "barcode" in c.lower())].str[5:7]
    large = centre.value_counts()
    kept = [name for name, count in large.items() if count >= 20]
    site = centre.map({name: i for i, name in enumerate(kept)}).fillna(len(kept)).to_numpy(np.int64)
    mvi = (data["vascular_tumor_cell_invasion_type"] == "Micro").to_numpy(np.float64)

    number = {name: pd.to_numeric(data[name], errors="coerce").to_numpy(np.float64) for name in
              ("OS", "OS.time", "DFI", "DFI.time", "age_at_initial_pathologic_diagnosis")}  # fmt: skip
    columns = {"group": mvi, "age": number["age_at_initial_pathologic_diagnosis"]}
    endpoints = {
        "y": mvi,
        "os.time": number["OS.time"],
        "os.event": number["OS"],
        "dfi.time": number["DFI.time"],
        "dfi.event": number["DFI"],
    }
    return Table("liver-cancer", "TCGA-LIHC, by centre", columns, endpoints, site)


TABLES = (breast_cancer, recidivism, breast_recurrence, heart_disease, liver_resection, liver_cancer)
"""All of them."""

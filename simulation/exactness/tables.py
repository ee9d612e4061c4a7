"""simulation: the public tables on which exactness is measured, each as at least three uneven, unlike sites."""

from __future__ import annotations

from functools import cache
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from common.study.table import FloatArray
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


@cache
def breast_competing() -> Table:
    """`breast_recurrence` with two kinds of events: every third event, in the order of the rows, counts as a death
    before recurrence (`ttr.event` 2)."""
    table = breast_recurrence()
    event = table.endpoints["os.event"]
    kind = np.where((event == 1.0) & (np.cumsum(event) % 3 == 0), 2.0, event)
    endpoints = {**table.endpoints, "ttr.time": table.endpoints["os.time"], "ttr.event": kind}
    return Table("breast-competing", "breast cancer, two causes, 4 sites", table.columns, endpoints, table.site)


@cache
def liver_competing() -> Table:
    """`liver_resection` with time to recurrence: who dies without one has the competing event (`ttr.event` 2)."""
    table = liver_resection()
    end = table.endpoints
    died = (end["os.event"] == 1.0) & (end["rfs.time"] >= end["os.time"])
    kind = np.where(end["rfs.event"] == 1.0, np.where(died, 2.0, 1.0), 0.0)
    endpoints = {**end, "ttr.time": np.minimum(end["rfs.time"], end["os.time"]), "ttr.event": kind}
    return Table("liver-competing", "liver resection, recurrence, 4 sites", table.columns, endpoints, table.site)


@cache
def reader_study() -> Table:
    """`breast_cancer` as read by three readers: the second and third readings of a feature are the first plus waves
    that no draw is needed for, larger from feature to feature (0.05 to 1.25 standard deviations), and a shift that
    grows over them too (none to half a standard deviation) for the second reader alone."""
    table = breast_cancer()
    patient = np.arange(table.site.size, dtype=np.float64)
    columns: dict[str, NDArray[np.float64]] = {}
    for j, (name, first) in enumerate(table.columns.items()):
        spread = first.std()
        wave = 0.05 + 1.2 * j / 29
        readings = (
            first,
            first + spread * (wave * np.sin(2.4 * patient + j) + 0.5 * j / 29),
            first + spread * wave * np.cos(1.7 * patient * (1 + j % 5) + 0.3 * j),
        )
        columns |= {f"{name}@{reader + 1}": reading for reader, reading in enumerate(readings)}
    return Table("reader-study", "three readers, 4 sites", columns, table.endpoints, table.site)


@cache
def two_scanners() -> Table:
    """200 features of 10 subjects from two scanners, with a covariate (test data of ComBatHarmonization in R): too few
    and too small to be a federation, they show that the algorithm is that of R."""
    import pandas as pd

    data = pd.read_csv(public_data("combat_reference") / "testdata.csv").to_numpy(np.float64)
    columns = {f"v{i}": row.copy() for i, row in enumerate(data)}
    columns["pheno"] = (np.arange(10) % 2 == 0).astype(np.float64)
    site = np.repeat(np.arange(2), 5)
    columns["reference"] = (site == 0).astype(np.float64)
    return Table("two-scanners", "2 scanners, reference of the algorithm", columns, {}, site)


def _folds(site: NDArray[np.int64]) -> FloatArray:
    """(n,) ten folds, dealt to the rows of each site in turn."""
    fold = np.empty(site.size)
    for label in np.unique(site):
        rows = np.flatnonzero(site == label)
        fold[rows] = np.arange(rows.size) % 10
    return fold


@cache
def breast_folds() -> Table:
    """`breast_cancer` with a column `fold`."""
    table = breast_cancer()
    columns = {**table.columns, "fold": _folds(table.site)}
    return Table("breast-folds", "breast cancer, 10 folds, 4 sites", columns, table.endpoints, table.site)


@cache
def breast_wide() -> Table:
    """`breast_cancer` with the squares and products of its standardised features too: 495 predictors."""
    table = breast_cancer()
    standard = {name: (x - x.mean()) / x.std() for name, x in table.columns.items()}
    columns = dict(standard)
    for (i, a), (j, b) in combinations_with_replacement(enumerate(standard), 2):
        columns[f"x{i}.{j}"] = standard[a] * standard[b]
    return Table("breast-wide", "breast cancer, 495 predictors, 4 sites", columns, table.endpoints, table.site)


@cache
def dcurves() -> Table:
    """750 patients of the tutorial of R's dcurves as four sites; times are ranks, which curves depend on only."""
    import pandas as pd

    folder = public_data("dcurves_reference")
    binary, times = pd.read_csv(folder / "df_binary.csv"), pd.read_csv(folder / "df_surv.csv")
    _, rank = np.unique(times["ttcancer"], return_inverse=True)
    columns = {name: binary[name].to_numpy(np.float64) for name in ("famhistory", "cancerpredmarker")}
    columns["marker"] = pd.read_csv(folder / "dca_tut_bin_int_marker_risks.csv").iloc[:, 0].to_numpy(np.float64)
    columns["pr_failure18"] = (
        pd.read_csv(folder / "dca_tut_coxph_pr_failure18_vals.csv").iloc[:, 0].to_numpy(np.float64)
    )
    endpoints = {
        "y": binary["cancer"].to_numpy(np.float64),
        "os.time": rank.astype(np.float64),
        "os.event": times["cancer"].to_numpy(np.float64),
    }
    site = np.repeat(np.arange(4), [80, 150, 220, 300])
    return Table("dcurves", "dcurves tutorial, 4 sites", columns, endpoints, site)


@cache
def rna_counts() -> Table:
    """Simulated counts of 400 genes in 96 patients as four sites, each with its own level of every gene; 40 genes
    differ with the group, and some are found in few patients."""
    rng = np.random.default_rng(2014)
    site = np.repeat(np.arange(4), [14, 20, 26, 36])
    group = (rng.random(site.size) < np.array([0.3, 0.5, 0.4, 0.6])[site]).astype(np.float64)
    age = np.round(rng.normal(60.0, 9.0, site.size) + 2.0 * site).astype(np.float64)
    names = tuple(f"gene{i:03d}" for i in range(400))
    share = np.exp(rng.normal(0.0, 1.8, 400))
    change = np.where(np.arange(400) < 40, rng.choice([-1.0, 1.0], 400), 0.0)
    level = rng.normal(0.0, 0.3, (4, 400))
    depth = np.exp(rng.normal(np.log(4e4), 0.35, site.size))[:, np.newaxis]
    mean = (
        depth * share / share.sum() * np.exp(level[site] + 0.01 * (age - 60.0)[:, np.newaxis] * rng.normal(0, 1, 400))
    )
    mean *= np.exp2(change * group[:, np.newaxis])
    dispersion = (0.1 + 4.0 / np.maximum(mean.mean(axis=0), 1.0)) * np.exp(rng.normal(0.0, 0.5, 400))
    counts = rng.negative_binomial(1 / dispersion, 1 / (1 + dispersion * mean)).astype(np.float64)
    columns = {name: counts[:, i] for i, name in enumerate(names)}
    return Table(
        "rna-counts", "simulated RNA-seq counts, 4 sites",
        {**columns, "group": group, "age": age, "library": counts.sum(axis=1)}, {}, site,
    )  # fmt: skip


@cache
def deseq2_counts() -> Table:
    """Counts of 10 genes in 100 samples, 50 of condition B, as three sites (made for PyDESeq2, and given to DESeq2)."""
    import pandas as pd

    folder = public_data("deseq2_reference") / "datasets" / "synthetic"
    counts = pd.read_csv(folder / "test_counts.csv", index_col=0)
    samples = pd.read_csv(folder / "test_metadata.csv", index_col=0)
    columns = {str(gene): counts.loc[gene].to_numpy(np.float64) for gene in counts.index}
    columns["library"] = np.sum(list(columns.values()), axis=0)
    columns["group"] = (samples["condition"] == "B").to_numpy(np.float64)
    site = np.searchsorted([20, 55], np.random.default_rng(2014).permutation(100), side="right")
    return Table("deseq2-counts", "DESeq2's counts, 3 sites", columns, {}, site)


@cache
def ranked_genes() -> Table:
    """Statistics of 3,000 genes, the largest first (fgsea's example), as three sites."""
    folder = public_data("genesets") / "fgsea_reference" / "inputs"
    read = {name: np.loadtxt(folder / f"{name}.tsv", skiprows=1) for name in ("stats", "batchcpp_stats")}
    return Table("ranked-genes", "fgsea's ranked genes", read, {}, np.arange(3000) % 3)


TABLES = (
    breast_cancer,
    recidivism,
    breast_recurrence,
    heart_disease,
    liver_resection,
    liver_cancer,
    breast_competing,
    liver_competing,
    reader_study,
    two_scanners,
    breast_folds,
    breast_wide,
    dcurves,
    rna_counts,
    deseq2_counts,
    ranked_genes,
)
"""All of them."""

KEYS = tuple(make.__name__.replace("_", "-") for make in TABLES)
"""Their keys, known also where their data are absent."""

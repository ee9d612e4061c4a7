"""tests: a whole study of gene expression over hospitals of this process: conducted, killed, resumed, reported."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import signal
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from client.cohort.site import load_site
from client.cohort.store import load_prepared
from common.federation.codec import from_bytes
from common.published.results import Results
from common.study.loader import load_study
from server.report.page import write_report
from server.study.execution import Action
from simulation.cohorts.consortium import Consortium, Expression, Group, Site, load_consortium
from simulation.cohorts.gene_lists import gene_list, gmt
from simulation.hospitals import make_hospitals
from simulation.running import Simulation
from tests.server.report.test_every_number import Page
from tests.server.study.expressed_study import protocol
from tests.server.study.test_resume import Undisturbed, doomed

ROOT = Path(__file__).parents[3]
SEQUENCED = {"alpha": 46, "beta": 41, "gamma": 37}
"""Patients with RNA; no other number of the study is one of these."""
WITHOUT_RNA = 3
BY_MVI = """
[[genomics.comparisons]]
name = "by-mvi"
cohort = "rna"
group = "mvi"
covariates = ["age"]
"""


def consortium() -> Consortium:
    """Three hospitals; twenty genes change fourfold with MVI, and 180 do not."""
    sites = tuple(
        Site(name=name, groups=(Group(label="train", patients=70), Group(label="rna", patients=n)), min_patients=12)
        for name, n in SEQUENCED.items()
    )
    expression = Expression(labels=("rna",), genes=200, associated=20, log2_fold_change=2.0)
    return load_consortium("radiogenomics").model_copy(
        update={"name": "expressed", "sites": sites, "expression": expression}
    )


@pytest.fixture(scope="module")
def conducted(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """A run that nobody disturbed."""
    folder, declared = tmp_path_factory.mktemp("genomics"), consortium()
    make_hospitals(declared, folder / "sites", 5)
    for site in SEQUENCED:
        table = folder / "sites" / site / "expression.csv"
        rows = [line.split(",") for line in table.read_text(encoding="utf-8").splitlines()]
        table.write_text("\n".join(",".join(row[:-WITHOUT_RNA]) for row in rows) + "\n", encoding="utf-8")
    sets = gmt(declared, 5).encode()
    (folder / "sets.gmt").write_bytes(sets)
    text = protocol(digest=hashlib.sha256(sets).hexdigest(), genes=gene_list(declared)) + BY_MVI
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return Undisturbed(folder / "study.toml", folder / "sites", folder / "undisturbed")


@pytest.fixture(scope="module")
def run(conducted: Undisturbed) -> Path:
    """The run's directory."""
    return conducted.sites.parent / "undisturbed" / "run"


@pytest.fixture(scope="module")
def results(conducted: Undisturbed) -> Results:
    return Results.model_validate_json(conducted.results)


def test_the_genes_that_differ_are_found_and_results_follow_the_schema(
    conducted: Undisturbed, results: Results
) -> None:
    schema = json.loads((ROOT / "docs" / "reference" / "results.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(json.loads(conducted.results))
    truth = json.loads((conducted.sites / "truth" / "consortium.json").read_text(encoding="utf-8"))["genes"]
    found = {result.id: result for result in results.results if result.id.startswith("expression.")}
    assert {name.split(".")[1] for name in found} == {"by-group", "by-score", "by-mvi"}
    assert all(result.status == "estimated" for result in found.values())
    whole = found["expression.by-mvi"]
    assert whole.genes is not None and whole.how == "exact-masked" and whole.n == sum(SEQUENCED.values()) - 9
    rows = zip(
        whole.genes.genes, whole.genes.columns["log2_fold_change"], whole.genes.columns["adjusted_p"], strict=True
    )
    signs = {gene: np.sign(change) for gene, change, p in rows if p is not None and p < 0.05}
    known = {gene: np.sign(change) for gene, change in truth["associated"].items() if gene in whole.genes.genes}
    assert len(known) >= 15 and known.items() <= signs.items() and len(signs.keys() - known.keys()) <= 3
    for end in ("preranked", "over-representation"):
        assert found[f"expression.by-mvi.gene-sets.{end}"].sets[0].name == "Glucose metabolism"


def test_no_patient_is_in_the_results_or_in_the_journal(conducted: Undisturbed, run: Path) -> None:
    study = load_study(conducted.study)
    journal = [from_bytes(file.read_bytes()) for file in sorted((run / "journal").glob("*.npz"))]
    words = conducted.results.decode() + "".join(message.text for message in journal)
    numbers = {float(number) for message in journal for array in message.arrays for number in array.flat}
    numbers |= {*numbers_of(json.loads(conducted.results))}
    axes = {length for message in journal for array in message.arrays for length in array.shape}
    assert len(journal) > 10 and len(numbers) > 5000
    for site, patients in SEQUENCED.items():
        table = load_prepared(load_site(run.parent / "sites" / site), study)
        assert table.expression is not None
        assert not [patient for patient in table.patients if patient in words]
        values = table.expression.values[~np.isnan(table.expression.library)]
        assert len(values) == patients - WITHOUT_RNA
        assert not {len(values), patients, table.n} & axes
        # Numbers of patients travel several in one, and are whole multiples of a power of two then.
        counts = {count for count in values[values > 1000].tolist() if count % 256}
        assert len(counts) > 1000 and not counts & numbers


def numbers_of(content: Any) -> Iterator[float]:
    """All numbers of a JSON document."""
    if isinstance(content, dict | list):
        for part in content.values() if isinstance(content, dict) else content:
            yield from numbers_of(part)
    elif isinstance(content, int | float):
        yield float(content)


def test_killed_while_genes_are_compared_and_resumed_gives_the_same_bytes(
    conducted: Undisturbed, tmp_path: Path
) -> None:
    sites, out = tmp_path / "sites", tmp_path / "run"
    shutil.copytree(conducted.sites, sites)
    fatal = math.ceil(0.85 * conducted.writes["journal"])
    process = get_context("fork").Process(target=doomed, args=(conducted.study, sites, out, "journal", fatal))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and not (out / "results.json").exists()
    journal = "".join(from_bytes(file.read_bytes()).text for file in sorted((out / "journal").glob("*.npz")))
    assert '"frozen"' in journal, "it ended before genes were compared"
    simulation = Simulation.of(conducted.study, sites, out, in_process=True)
    simulation.conduct(Action.RUN, lambda step: None)
    assert simulation.run.results_file.read_bytes() == conducted.results


def test_the_report_shows_what_was_found(results: Results, tmp_path: Path) -> None:
    write_report(results, None, tmp_path)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Gene expression by Microvascular invasion" in html and "Glucose metabolism" in html
    assert "Log2 fold change, present v absent" in html and "Log2 fold change, high score v low score" in html
    assert "Groups are predictions" in html
    words = Page(html).words
    left_out = "Gene expression: left out: no RNA-seq, or another value is missing"
    assert words[words.index(left_out) + 1 :][: len(SEQUENCED) + 1] == ["–"] * len(SEQUENCED) + ["9"]
    whole = next(result for result in results.results if result.id == "expression.by-mvi")
    assert whole.genes is not None
    smallest = min(p for p in whole.genes.columns["adjusted_p"] if p is not None)
    assert smallest < 1e-9 and f"{smallest:.1e}" in words

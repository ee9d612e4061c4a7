"""A trained network leaves the run as a bundle that MONAI, ONNX Runtime and people can read."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from monai.bundle import ConfigParser
from typer.testing import CliRunner

from common.errors import FedmviError
from common.networks.architecture import Architecture
from common.networks.network import MviNetwork, build
from common.networks.scorer import PatientScorer
from common.networks.weights import read_network, save_weights, to_vector
from common.published.results import CohortFacts, Count, Estimate, Result, Results
from common.study.features import LANDMARKS
from common.study.fingerprint import study_fingerprint
from common.study.loader import load_study
from server.cli import app
from server.exporting import write_export
from server.study.results import write_results

ROOT = Path(__file__).parents[2]
CHOSEN = ("t1a", "t1v", "t1d")
TRAIN = ["hospital-a", "hospital-b", "hospital-c", "hospital-d"]
TOLERANCE = 1e-4
SIZE = 32


@cache
def trained(sequences: tuple[str, ...] = CHOSEN, kind: str = "group", classes: int = 3) -> MviNetwork:
    """A small network whose scores differ from patient to patient, with statistics that are not those of a new one."""
    net = build(Architecture(sequences, classes, kind, width=8, blocks=1), 1)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        net.head.weight.normal_(std=0.1, generator=generator)
    net.train()
    for _ in range(3):
        net(torch.randn(8, len(sequences), SIZE, SIZE, generator=generator))
    return net.eval()


def patients(n: int, k: int = 3, s: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    brightness = torch.rand(n, k, 1, 1, 1, generator=generator)
    stacks = 200 * torch.rand(n, k, s, SIZE, SIZE, generator=generator) ** (1 + brightness) + 50
    body = torch.linspace(60, 240, len(LANDMARKS)).expand(n, k, -1).contiguous()
    return stacks, body


def results() -> Results:
    training = {"cohort": "train", "sites": TRAIN, "how": "exact"}
    name = "+".join(CHOSEN)
    make = Result.model_validate
    found = [
        make({"id": "flow.train", "statistic": "patient-flow", "title": "Patient flow", **training, "n": 160,
              "counts": [Count(name="excluded by images", by_site=dict(zip(TRAIN, (None, 9, 8, 7), strict=True)),
                               pooled=28, large=["hospital-a"])]}),
        make({"id": "network.dl_mvi.selection", "statistic": "network-selection", "title": "Choice", **training,
              "estimates": [Estimate(name="chosen", term="t1v", value=0), Estimate(name="chosen", term=name, value=1),
                            Estimate(name="cutoff", term="mean", value=0.4321),
                            Estimate(name="cutoff", term="first", value=0.4)]}),
        make({"id": f"network.dl_mvi.training.{name}", "statistic": "network-training", "title": "Training",
              **training, "n": 160, "estimates": [Estimate(name="rounds", term="everybody", value=9)]}),
        make({"id": f"network.dl_mvi.performance.{name}.train", "statistic": "network-performance",
              "title": "Performance", **training, "n": 152, "events": 61, "note": "Out of fold.",
              "estimates": [Estimate(name="auc", term="mean", value=0.8125, low=0.74, high=0.871),
                            Estimate(name="accuracy", term="mean, at the cut-off", value=0.625, low=0.55, high=0.7),
                            Estimate(name="majority_class", term="mean, at the cut-off", value=0.5987, low=0.52,
                                     high=0.67),
                            Estimate(name="recall", term="mean, at the cut-off", value=0.7, low=0.58, high=0.8),
                            Estimate(name="precision", term="mean, M2", value=None, note="a count is hidden")]}),
        make({"id": f"network.dl_mvi.performance.{name}.external-test.external-e", "title": "Performance",
              "statistic": "network-performance", "cohort": "external-test", "sites": ["external-e"],
              "how": "site-alone", "status": "refused", "note": "Too few patients."}),
        make({"id": "network.dl_mvi.by-centre.external-test", "statistic": "network-centres", "title": "By hospital",
              "cohort": "external-test", "sites": ["external-e"], "how": "site-alone", "note": "Site f: FEDMVI-408.",
              "estimates": [Estimate(name="auc", term="external-e", value=0.7, low=0.6, high=0.8),
                            Estimate(name="sensitivity", term="external-e", value=0.65, low=0.5, high=0.78),
                            Estimate(name="specificity", term="external-e", value=None, note="hidden: small"),
                            Estimate(name="worst_auc", term="external-e", value=0.7)]}),
    ]  # fmt: skip
    return Results(
        study="demo-network", title="A demonstration", description="", simulated=True, sources=["A paper"],
        study_fingerprint="a" * 64, code_fingerprint="b" * 64, preparation_fingerprint="c" * 64, min_cell=5,
        cohorts=[CohortFacts(name="train", role="train", sites=TRAIN),
                 CohortFacts(name="external-test", role="external-test", sites=["external-e"])],
        under_limits=[], variables={}, results=found,
    )  # fmt: skip


def make_run(folder: Path, change: Callable[[str], str] = lambda text: text, net: MviNetwork | None = None) -> Path:
    folder.mkdir()
    study = (ROOT / "studies" / "demo-network.toml").read_text(encoding="utf-8")
    study = study.replace("width = 16", "width = 8").replace("size = 64", f"size = {SIZE}")
    (folder / "study.toml").write_text(change(study), encoding="utf-8")
    write_results(results(), folder / "results.json")
    if net is not None:
        models = folder / "models" / "dl_mvi" / "+".join(CHOSEN)
        models.mkdir(parents=True)
        save_weights(models / "seed0.safetensors", net.architecture, to_vector(net))
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command makes of a run."""
    folder = tmp_path_factory.mktemp("export")
    run = make_run(folder / "run", lambda study: study.replace('missing = "exclude"', 'missing = "mask"'), trained())
    to = folder / "bundle"
    ended = CliRunner().invoke(app, ["export", str(run), "--network", "dl_mvi", "--out", str(to)])
    assert ended.exit_code == 0, ended.output
    return to


def torch_scores(net: MviNetwork, *inputs: torch.Tensor) -> list[np.ndarray]:
    with torch.no_grad():
        return [scores.numpy() for scores in PatientScorer(net).eval()(*inputs)]


def onnx_scores(path: Path, **inputs: torch.Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return list(session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()}))


@pytest.mark.parametrize("n", [1, 5])
def test_onnx_runtime_scores_as_torch_does_and_masks_what_is_absent(bundle: Path, n: int) -> None:
    (stacks, body), present = patients(n), torch.ones(n, 3, dtype=torch.bool)
    present[-1, 1] = False
    expected = torch_scores(trained(), stacks, body, present)
    got = onnx_scores(bundle / "models" / "model.onnx", stacks=stacks, body=body, present=present)
    for mine, wanted in zip(got, expected, strict=True):
        assert mine.shape == (n, 3)
        assert np.abs(mine - wanted).max() <= TOLERANCE
        assert wanted.min() > 0.01
    everything = torch_scores(trained(), stacks, body)
    assert np.abs(expected[0] - expected[1]).max() > 10 * TOLERANCE
    assert np.abs(everything[0] - expected[0])[-1].max() > 10 * TOLERANCE


def test_monai_puts_the_bundle_together_and_it_scores_the_same(bundle: Path) -> None:
    parser = ConfigParser()
    parser.read_config(bundle / "configs" / "inference.json")
    parser.read_meta(bundle / "configs" / "metadata.json")
    parser["bundle_root"], parser["device"] = str(bundle), "cpu"
    parser.parse()
    inputs = patients(2)
    with torch.no_grad():
        got = parser.get_parsed_content("inferer")(*inputs)
    for mine, wanted in zip(got, torch_scores(trained(), *inputs), strict=True):
        assert np.array_equal(mine.numpy(), wanted)
    network = parser.get_parsed_content("network_def")
    declared = parser["_meta_"]["network_data_format"]
    channels = list(declared["inputs"]["image"]["channel_def"].values())
    logits = network(torch.zeros(1, len(channels), *declared["inputs"]["image"]["spatial_shape"]))
    assert tuple(channels) == CHOSEN
    assert logits.shape == (1, declared["outputs"]["pred"]["num_channels"])
    assert declared["outputs"]["pred"]["channel_def"] == {"0": "logit of M0", "1": "logit of M1", "2": "logit of M2"}


def test_metadata_has_what_monai_demands(bundle: Path) -> None:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    demanded = {"version", "changelog", "monai_version", "pytorch_version", "numpy_version", "task", "description",
                "required_packages_version", "authors", "copyright", "network_data_format"}  # fmt: skip
    assert demanded <= set(metadata)
    tensor = {"type", "format", "num_channels", "spatial_shape", "dtype", "value_range", "is_patch_data", "channel_def"}
    specified = metadata["network_data_format"]
    assert tensor <= set(specified["inputs"]["image"])
    assert tensor <= set(specified["outputs"]["pred"])
    assert "no medical device" in metadata["intended_use"]
    assert metadata["intended_use"].startswith("Simulated") and metadata["data_source"].startswith("Simulated")
    assert metadata["fedmvi_cutoffs"] == {"mean": 0.4321, "first": 0.4}
    assert len(metadata["fedmvi_study_fingerprint"]) == 64
    told = onnxruntime.InferenceSession(bundle / "models" / "model.onnx").get_modelmeta().custom_metadata_map
    assert told["study_fingerprint"] == metadata["fedmvi_study_fingerprint"]
    assert json.loads(told["cutoffs"]) == metadata["fedmvi_cutoffs"] and told["intended_use"].startswith("Simulated")


def test_a_bundle_has_no_file_that_could_execute_anything(bundle: Path) -> None:
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert files == {"LICENSE", "configs/inference.json", "configs/metadata.json", "docs/README.md",
                     "models/model.onnx", "models/model.safetensors"}  # fmt: skip
    net = read_network(bundle / "models" / "model.safetensors")
    assert np.array_equal(to_vector(net), to_vector(trained()))


def test_the_model_card_says_how_well_it_does_where_and_what_it_is_not(bundle: Path) -> None:
    card = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    for said in (
        "Simulated", "no medical device", "hospital-a, hospital-b", "152 patients, 61 with MVI", "Out of fold.",
        "| AUC | mean | 0.812 (0.740 to 0.871) |", "| recall | mean, at the cut-off | 70.0 % (58.0 to 80.0) |",
        "| accuracy of always saying the commoner class | mean, at the cut-off | 59.9 % (52.0 to 67.0) |",
        "its accuracy (mean, at the cut-off) is not shown to be above that of saying the commonest class to everybody: "
        "62.5 % (55.0 to 70.0) against 59.9 %",
        "| precision | mean, M2 | a count is hidden |", "frozen cut-off by `mean` (the one that is reported): 0.4321",
        "Not known in external-test (external-e): Too few patients.", "| excluded by images | hidden† | 9 | 8 | 7 |",
        "### Cohort external-test, by hospital", "Site f: FEDMVI-408.",
        "| external-e | 0.700 (0.600 to 0.800) | 65.0 % (50.0 to 78.0) | hidden: small | not told | not told |",
        "no differential privacy", "everybody: 9 rounds", "group normalisation", "lacks is masked",
        study_fingerprint(load_study(bundle.parent / "run" / "study.toml")),
    ):  # fmt: skip
        assert said in card, said


@pytest.mark.parametrize("kind", ["balanced", "none"])
def test_the_card_says_at_which_prevalence_probabilities_are_as_training_left_them(kind: str, tmp_path: Path) -> None:
    """Weights of classes are taken off the biases before weights are saved (`train_job`)."""

    def weighted(study: str) -> str:
        return study.replace("[networks.training]\n", f'[networks.training]\nclass_weights = "{kind}"\n')

    run = make_run(tmp_path / "run", weighted, trained())
    assert f'class_weights = "{kind}"' in (run / "study.toml").read_text(encoding="utf-8")
    card = (write_export(run, "dl_mvi", tmp_path / "bundle") / "docs" / "README.md").read_text(encoding="utf-8")
    assert "Probabilities are at the prevalence of train, for others not calibrated" in card
    assert ("The weighting was taken back" in card) == (kind == "balanced")
    assert "exceed" not in card


@pytest.mark.parametrize("kind", ["fedbn", "silobn"])
def test_a_network_whose_statistics_stayed_at_the_sites_is_not_exported_here(kind: str, tmp_path: Path) -> None:
    def own(study: str) -> str:
        return study.replace('normalisation = "group"', f'normalisation = "{kind}"')

    run = make_run(tmp_path / "run", own, trained(kind=kind))
    with pytest.raises(FedmviError) as refused:
        write_export(run, "dl_mvi", tmp_path / "bundle")
    assert refused.value.number == 688
    assert "at least 20 patients" in refused.value.do
    assert not (tmp_path / "bundle").exists()


def test_what_is_not_there_or_does_not_fit_is_refused_by_number(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", net=trained(("t1", "t1v")))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").touch()
    for number, wanted in (
        (684, ("other", tmp_path / "bundle")),
        (684, ("dl_mvi", tmp_path / "bundle", "t1+t2")),
        (684, ("dl_mvi", tmp_path / "bundle", "nonsense")),
        (686, ("dl_mvi", tmp_path / "bundle", "T1D,t1v, t1a")),
        (689, ("dl_mvi", tmp_path / "bundle", "t1v")),
        (689, ("dl_mvi", tmp_path / "bundle", "", 7)),
        (686, ("dl_mvi", tmp_path / "bundle")),
    ):
        with pytest.raises(FedmviError) as refused:
            write_export(run, *wanted)  # type: ignore[arg-type]
        assert refused.value.number == number
    other = make_run(tmp_path / "other", net=trained())
    with pytest.raises(FedmviError) as full:
        write_export(other, "dl_mvi", tmp_path / "full")
    assert full.value.number == 213
    (other / "results.json").unlink()
    with pytest.raises(FedmviError) as unfinished:
        write_export(other, "dl_mvi", tmp_path / "bundle")
    assert unfinished.value.number == 702


def test_a_wrong_name_is_answered_with_those_that_there_are_and_a_run_without_a_model_says_why(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    with pytest.raises(FedmviError) as misspelt:
        write_export(run, "dl_mv", tmp_path / "bundle")
    assert misspelt.value.number == 684 and "dl_mvi" in misspelt.value.do
    with pytest.raises(FedmviError) as nearest:
        write_export(run, "dl_mvi", tmp_path / "bundle", "t1a,t1d")
    assert nearest.value.do.partition(": ")[2].startswith("t1")
    found = results()
    without = {"status": "not-estimable", "note": "It learned nothing.", "estimates": []}
    changed = [r.model_copy(update=without if r.statistic == "network-selection" else {}) for r in found.results]
    write_results(found.model_copy(update={"results": changed}), run / "results.json")
    with pytest.raises(FedmviError) as untrained:
        write_export(run, "dl_mvi", tmp_path / "bundle")
    assert untrained.value.number == 689 and "It learned nothing." in str(untrained.value)

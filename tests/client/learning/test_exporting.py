"""A network whose normalisation belongs to a hospital is handed on by that hospital, and says whose it is."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
import torch

from client.cohort.site import load_site
from client.cohort.template import init_site
from client.learning import exporting
from client.learning.exporting import Source, estimated_statistics, export_here, own_statistics
from client.learning.work import Works, work_folder
from common.errors import FedmviError
from common.networks.architecture import Architecture
from common.networks.network import MviNetwork, build
from common.networks.normalisation import MIN_ESTIMATED
from common.networks.scorer import PatientScorer
from common.networks.weights import local_state, read_network, save_weights, to_vector
from common.published.results import CohortFacts, Estimate, Result, Results
from common.study.fingerprint import study_fingerprint
from common.study.loader import parse_study
from common.study.protocol import Study
from server.study.results import write_results
from tests.client.learning.drawn_learners import drawn_learners
from tests.docs.reader import Reader

ROOT = Path(__file__).parents[3]


def study_text(kind: str) -> str:
    text = (ROOT / "studies" / "demo-network.toml").read_text(encoding="utf-8")
    text = text.replace("width = 16", "width = 8")
    return text.replace('normalisation = "group"', f'normalisation = "{kind}"')


def study(kind: str) -> Study:
    return parse_study(study_text(kind))


def at_a_hospital(kind: str, folder: Path) -> tuple[MviNetwork, Path]:
    """A network with statistics of its own, and the file of what is shared of it."""
    net = build(Architecture(("t1v",), 3, kind, width=8, blocks=1), 1)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "norm" in name:
                parameter.add_(torch.rand(parameter.shape, generator=generator))
    net(torch.randn(8, 1, 32, 32, generator=generator))
    save_weights(folder / "seed0.safetensors", net.architecture, to_vector(net))
    return net.eval(), folder / "seed0.safetensors"


def published(protocol: Study) -> Results:
    """Some of what the coordinator publishes of a run of this protocol."""
    where = {"cohort": "train", "sites": ["hospital-a", "hospital-b"], "how": "exact"}
    make = Result.model_validate
    return Results(
        study=protocol.study.name, title=protocol.study.title, description="", simulated=True, sources=[],
        study_fingerprint=study_fingerprint(protocol), code_fingerprint="b" * 64, preparation_fingerprint="c" * 64,
        min_cell=5, cohorts=[CohortFacts(name="train", role="train", sites=["hospital-a", "hospital-b"])],
        under_limits=[], variables={}, results=[
            make({"id": "network.dl_mvi.selection", "statistic": "network-selection", "title": "Choice", **where,
                  "estimates": [Estimate(name="chosen", term="t1v", value=1),
                                Estimate(name="cutoff", term="mean", value=0.4321)]}),
            make({"id": "network.dl_mvi.performance.t1v.train", "statistic": "network-performance", "n": 152,
                  "events": 61, "title": "Performance", **where,
                  "estimates": [Estimate(name="auc", term="mean", value=0.8125, low=0.74, high=0.871)]}),
        ],
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["fedbn", "silobn"])
@pytest.mark.parametrize("source", list(Source))
def test_the_bundle_is_the_hospitals_network_and_states_its_statistics(
    kind: str, source: Source, tmp_path: Path
) -> None:
    net, shared = at_a_hospital(kind, tmp_path)
    protocol = study(kind)
    local = {**local_state(net), "optimiser.0.step": np.ones(1, dtype=np.float32)}
    export_here(tmp_path / "bundle", protocol, protocol.networks[0], shared, local, source, published(protocol))
    exported = read_network(tmp_path / "bundle" / "models" / "model.safetensors")
    images = torch.randn(3, 1, 32, 32)
    assert torch.equal(exported(images), net(images))
    metadata = json.loads((tmp_path / "bundle" / "configs" / "metadata.json").read_text(encoding="utf-8"))
    card = (tmp_path / "bundle" / "docs" / "README.md").read_text(encoding="utf-8")
    words = {"own": "one hospital's own", "re-estimated": "estimated at one hospital on 20 or more patients"}[source]
    assert words in metadata["description"]
    for said in (
        words, "hospital-a, hospital-b", "152 patients, 61 with MVI", "| AUC | mean | 0.812 (0.740 to 0.871) |",
        "frozen cut-off by `mean` (the one that is reported): 0.4321", "every hospital's own statistics", "## Limits",
        "no medical device",
    ):  # fmt: skip
        assert said in card, said
    assert metadata["fedmvi_cutoffs"] == {"mean": 0.4321}
    graph = onnxruntime.InferenceSession(tmp_path / "bundle" / "models" / "model.onnx")
    assert json.loads(graph.get_modelmeta().custom_metadata_map["cutoffs"]) == {"mean": 0.4321}
    size = protocol.networks[0].size
    stacks, body = 200 * torch.rand(4, 1, 3, size, size) + 50, torch.linspace(60, 240, 11).expand(4, 1, 11).contiguous()
    with torch.no_grad():
        expected = PatientScorer(net).eval()(stacks, body)
    for mine, wanted in zip(graph.run(None, {"stacks": stacks.numpy(), "body": body.numpy()}), expected, strict=True):
        assert np.abs(mine - wanted.numpy()).max() <= 1e-4


def test_the_command_of_the_guide_completes_the_network_of_a_run_with_the_hospitals_own_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, shared = at_a_hospital("fedbn", tmp_path)
    digest, protocol = "1" * 64, study("fedbn")
    save_weights(shared, net.architecture, to_vector(net), digest)
    init_site(tmp_path / "hospital-a", "hospital-a")
    Works(work_folder(load_site(tmp_path / "hospital-a"), "run-1")).keep(digest, {}, {}, local_state(net))
    (tmp_path / "study.toml").write_text(study_text("fedbn"), encoding="utf-8")
    write_results(published(protocol), tmp_path / "results.json")
    Reader(tmp_path, monkeypatch, {"RUN": "run-1"}).type_from("howto/train-a-network.md", "fedmvi-site export")
    exported = read_network(tmp_path / "model" / "models" / "model.safetensors")
    images = torch.randn(3, 1, 32, 32)
    assert torch.equal(exported(images), net(images))
    card = (tmp_path / "model" / "docs" / "README.md").read_text(encoding="utf-8")
    assert "one hospital's own" in card and "152 patients, 61 with MVI" in card


def test_without_results_the_card_has_the_protocols_cohorts_and_says_that_performance_is_not_given(
    tmp_path: Path,
) -> None:
    net, shared = at_a_hospital("silobn", tmp_path)
    protocol = study("silobn")
    export_here(tmp_path / "bundle", protocol, protocol.networks[0], shared, local_state(net), Source.OWN, None)
    card = (tmp_path / "bundle" / "docs" / "README.md").read_text(encoding="utf-8")
    sites = ", ".join(protocol.cohort("train").sites)
    for said in ("Performance not given", "cut-off not given", f"| train | train | {sites} |", "## Limits"):
        assert said in card, said


def test_results_of_another_protocol_are_refused(tmp_path: Path) -> None:
    net, shared = at_a_hospital("silobn", tmp_path)
    protocol, other = study("silobn"), published(study("fedbn"))
    with pytest.raises(FedmviError) as refused:
        export_here(tmp_path / "bundle", protocol, protocol.networks[0], shared, local_state(net), Source.OWN, other)
    assert refused.value.number == 704
    assert not (tmp_path / "bundle").exists()


def test_without_statistics_it_is_refused(tmp_path: Path) -> None:
    _, shared = at_a_hospital("silobn", tmp_path)
    protocol = study("silobn")
    with pytest.raises(FedmviError) as refused:
        export_here(tmp_path / "bundle", protocol, protocol.networks[0], shared, {}, Source.OWN, None)
    assert refused.value.number == 688
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(("patients", "number"), [(MIN_ESTIMATED, 0), (MIN_ESTIMATED - 1, 393)])
def test_statistics_are_estimated_on_twenty_patients_or_not_at_all(
    patients: int, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, shared = at_a_hospital("silobn", tmp_path)
    protocol = study("silobn")
    learners = drawn_learners(patients, sequences=("t1v",))
    monkeypatch.setattr(exporting, "load_prepared", lambda *_: SimpleNamespace(patients=learners.ids))
    monkeypatch.setattr(exporting, "store_folder", lambda *_: tmp_path)
    monkeypatch.setattr(exporting, "load_learners", lambda *_: learners)
    run = partial(estimated_statistics, SimpleNamespace(), protocol, protocol.networks[0], shared)  # type: ignore[arg-type]
    if number:
        with pytest.raises(FedmviError) as refused:
            run()
        assert refused.value.number == number
        return
    local = run()
    export_here(tmp_path / "bundle", protocol, protocol.networks[0], shared, local, Source.RE_ESTIMATED, None)
    exported = local_state(read_network(tmp_path / "bundle" / "models" / "model.safetensors"))
    assert all(np.array_equal(exported[name], local[name]) for name in exported)


def test_its_own_statistics_are_those_of_the_round_that_the_shared_weights_name(tmp_path: Path) -> None:
    net, shared = at_a_hospital("fedbn", tmp_path)
    digest, other = "1" * 64, "2" * 64
    save_weights(shared, net.architecture, to_vector(net), digest)
    site = SimpleNamespace(store=tmp_path)
    works = Works(tmp_path / "work" / "run-1")
    works.keep(digest, {}, {}, local_state(net))
    works.keep(other, {}, {}, {name: array + 1 for name, array in local_state(net).items()})
    own = own_statistics(site, "run-1", shared)  # type: ignore[arg-type]
    assert all(np.array_equal(own[name], array) for name, array in local_state(net).items())
    with pytest.raises(FedmviError) as refused:
        own_statistics(site, "run-2", shared)  # type: ignore[arg-type]
    assert refused.value.number == 391

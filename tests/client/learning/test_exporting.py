"""A network whose normalisation belongs to a hospital is handed on by that hospital, and says whose it is."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from client.learning import exporting
from client.learning.exporting import Source, estimated_statistics, export_here, own_statistics
from client.learning.work import Works
from common.errors import FedmviError
from common.networks.architecture import Architecture
from common.networks.network import MviNetwork, build
from common.networks.normalisation import MIN_ESTIMATED
from common.networks.weights import local_state, read_network, save_weights, to_vector
from common.study.loader import parse_study
from common.study.protocol import Study
from tests.client.learning.drawn_learners import drawn_learners

ROOT = Path(__file__).parents[3]


def study(kind: str) -> Study:
    text = (ROOT / "studies" / "demo-network.toml").read_text(encoding="utf-8")
    text = text.replace("width = 16", "width = 8")
    return parse_study(text.replace('normalisation = "group"', f'normalisation = "{kind}"'))


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


@pytest.mark.parametrize("kind", ["fedbn", "silobn"])
@pytest.mark.parametrize("source", list(Source))
def test_the_bundle_is_the_hospitals_network_and_states_its_statistics(
    kind: str, source: Source, tmp_path: Path
) -> None:
    net, shared = at_a_hospital(kind, tmp_path)
    protocol = study(kind)
    local = {**local_state(net), "optimiser.0.step": np.ones(1, dtype=np.float32)}
    export_here(tmp_path / "bundle", protocol, protocol.networks[0], shared, local, source)
    exported = read_network(tmp_path / "bundle" / "models" / "model.safetensors")
    images = torch.randn(3, 1, 32, 32)
    assert torch.equal(exported(images), net(images))
    metadata = json.loads((tmp_path / "bundle" / "configs" / "metadata.json").read_text(encoding="utf-8"))
    card = (tmp_path / "bundle" / "docs" / "README.md").read_text(encoding="utf-8")
    words = {"own": "one hospital's own", "re-estimated": "estimated at one hospital on 20 or more patients"}[source]
    assert words in metadata["description"]
    assert words in card


def test_without_statistics_it_is_refused(tmp_path: Path) -> None:
    _, shared = at_a_hospital("silobn", tmp_path)
    protocol = study("silobn")
    with pytest.raises(FedmviError) as refused:
        export_here(tmp_path / "bundle", protocol, protocol.networks[0], shared, {}, Source.OWN)
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
    export_here(tmp_path / "bundle", protocol, protocol.networks[0], shared, local, Source.RE_ESTIMATED)
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

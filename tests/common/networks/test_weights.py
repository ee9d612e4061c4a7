"""Weights travel as one vector; what belongs to a site is not in it; files of weights hold numbers only."""

import subprocess
import sys
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from common.errors import FedmviError
from common.networks.architecture import Architecture
from common.networks.network import MviNetwork, build
from common.networks.weights import (
    load_local_state,
    load_vector,
    local_round,
    local_state,
    parameter_mask,
    read_network,
    read_weights,
    save_network,
    save_weights,
    shared_names,
    shift_logits,
    to_vector,
    vector_size,
)
from common.study.networks import Normalisation

KINDS = get_args(Normalisation)
ROOT = Path(__file__).resolve().parents[3]


def architecture(kind: Normalisation) -> Architecture:
    return Architecture(("t1", "t1v"), 2, kind, width=8, blocks=1)


def lived_in(kind: Normalisation, seed: int = 1) -> MviNetwork:
    """A network none of whose tensors is as it was made."""
    net, generator = build(architecture(kind), seed), torch.Generator().manual_seed(seed + 100)
    with torch.no_grad():
        for tensor in (*net.parameters(), *(b for n, b in net.named_buffers() if "running" in n)):
            tensor.add_(torch.rand(tensor.shape, generator=generator))
    return net


def outputs(net: MviNetwork) -> torch.Tensor:
    images = torch.randn(2, 2, 32, 32, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return net.eval()(images)


@pytest.mark.parametrize("kind", KINDS)
def test_vector_and_local_state_together_are_the_whole_network(kind: Normalisation) -> None:
    net, fresh = lived_in(kind), build(architecture(kind), 2)
    vector, state = to_vector(net), local_state(net)
    load_vector(fresh, vector)
    load_local_state(fresh, state)
    assert vector.dtype == np.float32
    assert np.array_equal(to_vector(fresh), vector)
    assert torch.equal(outputs(fresh), outputs(net))


@pytest.mark.parametrize("kind", KINDS)
def test_the_size_is_known_from_the_architecture_alone(kind: Normalisation) -> None:
    assert vector_size(architecture(kind)) == to_vector(lived_in(kind)).size


def test_the_published_network_travels_in_nine_megabytes() -> None:
    sequences = ("t1", "t1v", "t1d")
    sizes = {kind: vector_size(Architecture(sequences, 2, kind)) for kind in KINDS}
    scales_and_shifts = 2 * 7_744
    assert sizes["group"] == sizes["silobn"] == 2_213_058
    assert sizes["batch"] == 2_213_058 + scales_and_shifts
    assert sizes["fedbn"] == 2_213_058 - scales_and_shifts


@pytest.mark.parametrize("kind", ["fedbn", "silobn"])
def test_a_sites_statistics_are_never_in_the_vector(kind: Normalisation) -> None:
    net = lived_in(kind)
    vector, state = to_vector(net), local_state(net)
    assert not any("running" in name or "batches" in name for name in shared_names(net))
    net.train()(torch.randn(4, 2, 32, 32))
    load_local_state(net, {name: array + 1 for name, array in local_state(net).items()})
    assert np.array_equal(to_vector(net), vector)
    assert all(not np.array_equal(array, state[name]) for name, array in local_state(net).items())
    load_vector(net, np.zeros_like(vector))
    assert all(array.any() for array in local_state(net).values())


def test_of_fedbn_no_normalisation_layer_is_shared_and_of_silobn_scale_and_shift_are() -> None:
    fedbn, silobn = build(architecture("fedbn"), 1), build(architecture("silobn"), 1)
    layers = [name for name, layer in fedbn.named_modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    of_layers = {f"{name}.{part}" for name in layers for part in ("weight", "bias")}
    assert not of_layers & set(shared_names(fedbn))
    assert of_layers <= set(shared_names(silobn))
    assert set(local_state(fedbn)) == of_layers | set(local_state(silobn))


def test_only_running_statistics_are_no_parameters() -> None:
    for kind in KINDS:
        net = lived_in(kind)
        before, mask = to_vector(net), parameter_mask(net)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(1)
        assert np.array_equal(to_vector(net) != before, mask)
        statistics = sum(buffer.numel() for name, buffer in net.named_buffers() if "running" in name)
        assert (~mask).sum() == (statistics if kind == "batch" else 0)


def test_the_layout_of_memory_does_not_change_the_vector() -> None:
    net = lived_in("group")
    vector = to_vector(net)
    net.to(memory_format=torch.channels_last)
    assert np.array_equal(to_vector(net), vector)
    load_vector(net, vector)
    assert np.array_equal(to_vector(net), vector)


def test_a_network_does_not_change_with_the_array_that_it_was_filled_from() -> None:
    net = lived_in("group")
    vector = to_vector(net)
    kept = vector.copy()
    load_vector(net, vector)
    vector[:] = 0
    assert np.array_equal(to_vector(net), kept)


def test_weights_of_another_network_are_refused() -> None:
    net, other = lived_in("fedbn"), lived_in("silobn")
    for wrong in (lambda: load_vector(net, to_vector(net)[1:]), lambda: load_local_state(net, local_state(other))):
        with pytest.raises(FedmviError) as refused:
            wrong()
        assert refused.value.number == 686


@pytest.mark.parametrize("kind", KINDS)
def test_files_bring_weights_and_whole_networks_back_bit_for_bit(kind: Normalisation, tmp_path: Path) -> None:
    net = lived_in(kind)
    save_weights(tmp_path / "shared.safetensors", net.architecture, to_vector(net), "f" * 64)
    save_network(tmp_path / "whole.safetensors", net)
    assert local_round(tmp_path / "shared.safetensors") == "f" * 64
    assert local_round(tmp_path / "whole.safetensors") == ""
    for name in ("shared", "whole"):
        read, vector = read_weights(tmp_path / f"{name}.safetensors")
        assert read == net.architecture
        assert np.array_equal(vector, to_vector(net))
    whole = read_network(tmp_path / "whole.safetensors")
    assert not whole.training
    assert torch.equal(outputs(whole), outputs(net))


def test_shared_weights_alone_are_no_network_where_a_site_keeps_statistics(tmp_path: Path) -> None:
    net = lived_in("silobn")
    save_weights(tmp_path / "shared.safetensors", net.architecture, to_vector(net))
    with pytest.raises(FedmviError) as refused:
        read_network(tmp_path / "shared.safetensors")
    assert refused.value.number == 687


def test_a_damaged_file_is_an_error_with_a_number(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    net = lived_in("group")
    save_weights(file, net.architecture, to_vector(net))
    whole = file.read_bytes()
    for content in (b"", whole[:-1], whole[:100], b"\x80\x04K\x01.", whole + b"x"):
        file.write_bytes(content)
        with pytest.raises(FedmviError) as refused:
            read_weights(file)
        assert refused.value.number == 687


def test_logits_are_shifted_for_everybody_alike() -> None:
    three = Architecture(("t1", "t2"), 3, "batch", width=8, blocks=1)
    net = build(three, seed=3).eval()
    images = torch.randn(4, 2, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        before = net(images)
        load_vector(net, shift_logits(three, to_vector(net), np.array([0.5, -1.0, 2.0])))
        np.testing.assert_allclose(net(images) - before, np.tile([0.5, -1.0, 2.0], (4, 1)), atol=1e-6)


def test_the_same_weights_are_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    made = (
        "import sys, numpy as np; from pathlib import Path;"
        "from common.networks.architecture import Architecture; from common.networks.weights import *;"
        "a = Architecture(('t1',), 2, 'group', width=8, blocks=1);"
        "save_weights(Path(sys.argv[1]), a, np.zeros(vector_size(a), np.float32), 'f' * 64)"
    )
    for name in ("first", "second"):
        subprocess.run([sys.executable, "-c", made, str(tmp_path / name)], check=True, cwd=ROOT)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert local_round(tmp_path / "first") == "f" * 64

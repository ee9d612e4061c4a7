"""common/networks: a network's weights as one vector, what of them stays at a site, and files that execute nothing.

==========  ==========================================================  ============================================
kind        shared: in the vector                                       local: stays at the site
==========  ==========================================================  ============================================
`group`     all parameters                                              nothing
`batch`     all parameters, running means and variances                 nothing
`silobn`    all parameters (Andreux et al., DART 2020)                  running means and variances
`fedbn`     all parameters but scales and shifts of normalisation       scales, shifts, running means and variances
            (Li et al., ICLR 2021)
==========  ==========================================================  ============================================

Layers' counts of batches are neither: nothing is computed from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor, nn

from common.errors import FedmviError
from common.files import write_whole
from common.networks.architecture import Architecture
from common.networks.network import MviNetwork, build
from common.networks.normalisation import STATISTICS
from common.study.fingerprint import canonical_json

Arrays = Mapping[str, NDArray[np.float32]]
_ABOUT, _ARCHITECTURE, _LOCAL = "fedmvi", "architecture", "local"


def shared_names(net: MviNetwork) -> tuple[str, ...]:
    """Names of the tensors that travel, in the order of the vector: parameters first, then statistics."""
    return tuple(name for name, _ in _shared(net))


def to_vector(net: MviNetwork) -> NDArray[np.float32]:
    """The shared weights, (p,) float32 on the CPU."""
    with torch.no_grad():
        flat = torch.cat([tensor.detach().reshape(-1).float() for _, tensor in _shared(net)])
    vector: NDArray[np.float32] = flat.cpu().numpy()
    return vector


def load_vector(net: MviNetwork, vector: NDArray[np.float32]) -> None:
    """Put shared weights, (p,), into a network; what is local stays as it is. Error 686 if they are not its number."""
    tensors = _shared(net)
    _check_size(sum(tensor.numel() for _, tensor in tensors), vector)
    # A copy: the network must not change with an array that came in a message, which may also be read-only.
    parts = torch.split(torch.from_numpy(np.array(vector, np.float32)), [tensor.numel() for _, tensor in tensors])
    with torch.no_grad():
        for (_, tensor), part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))


def parameter_mask(net: MviNetwork) -> NDArray[np.bool_]:
    """(p,) True for parameters, which gradients change; False for running statistics."""
    trained = {name for name, _ in net.named_parameters()}
    return np.concatenate([np.full(tensor.numel(), name in trained) for name, tensor in _shared(net)])


def vector_size(architecture: Architecture) -> int:
    """Number of shared weights, p."""
    return sum(count for _, _, count in _layout(architecture))


def shift_logits(
    architecture: Architecture, vector: NDArray[np.float32], shift: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(p,) shared weights of the network whose logits are larger by `shift`, (classes,), for every patient.

    Raises
    ------
    FedmviError
        686 the vector has another length.
    """
    _check_size(vector_size(architecture), vector)
    moved, at = vector.copy(), 0
    for name, _, count in _layout(architecture):
        if name == "head.bias":
            moved[at : at + count] += shift.astype(np.float32)
        at += count
    return moved


def statistics_of(net: MviNetwork) -> dict[str, NDArray[np.float32]]:
    """Running means and variances of all layers, by name; empty for `group`."""
    return {name: _array(tensor) for name, tensor in net.named_buffers() if name.rsplit(".", 1)[-1] in STATISTICS}


def with_statistics(architecture: Architecture, vector: NDArray[np.float32], statistics: Arrays) -> NDArray[np.float32]:
    """(p,) shared weights of `batch` with other running means and variances, of all layers.

    Raises
    ------
    FedmviError
        686 the vector has another length, or the statistics are not those of its layers.
    """
    _check_size(vector_size(architecture), vector)
    places = {name: (shape, count) for name, shape, count in _layout(architecture) if name.endswith(STATISTICS)}
    if set(places) != set(statistics) or any(statistics[name].shape != shape for name, (shape, _) in places.items()):
        raise FedmviError(686, f"statistics of {len(statistics)} tensors for {len(places)}")
    changed, at = vector.copy(), 0
    for name, _, count in _layout(architecture):
        if name in statistics:
            changed[at : at + count] = statistics[name].reshape(-1)
        at += count
    return changed


def local_state(net: MviNetwork) -> dict[str, NDArray[np.float32]]:
    """What stays at the site, by name; empty for `group` and `batch`."""
    return {name: _array(tensor) for name, tensor in _local(net)}


def load_local_state(net: MviNetwork, state: Arrays) -> None:
    """Put a site's own state into a network; error 686 if it is not that of its architecture."""
    _fill(dict(_local(net)), state)


def save_weights(path: Path, architecture: Architecture, vector: NDArray[np.float32], local: str = "") -> None:
    """Write shared weights, (p,), as safetensors: one tensor a layer, and the architecture as metadata.

    `local` is the digest of the round whose local state, at each site that trained, goes with them; "" for none.

    Raises
    ------
    FedmviError
        686 the vector has another length.
    """
    layout = _layout(architecture)
    _check_size(vector_size(architecture), vector)
    ends = np.cumsum([count for _, _, count in layout])
    parts = np.split(np.asarray(vector, np.float32), ends[:-1])
    arrays = {name: part.reshape(shape) for (name, shape, _), part in zip(layout, parts, strict=True)}
    _write(path, arrays, architecture, local)


def read_weights(path: Path) -> tuple[Architecture, NDArray[np.float32]]:
    """Architecture and shared weights, (p,), of a file; local state in it is left aside. Error 687 if it is none."""
    architecture, arrays, _ = _read(path)
    layout = _layout(architecture)
    if any(name not in arrays or arrays[name].shape != shape for name, shape, _ in layout):
        raise FedmviError(687, str(path))
    return architecture, np.concatenate([arrays[name].reshape(-1) for name, _, _ in layout])


def local_round(path: Path) -> str:
    """The digest that `save_weights` was given; error 687 if the file is none of weights."""
    return _read(path)[2]


def save_network(path: Path, net: MviNetwork) -> None:
    """Write all that a network computes with, local state too, as safetensors."""
    arrays = {name: _array(tensor) for name, tensor in (*_shared(net), *_local(net))}
    _write(path, arrays, net.architecture)


def read_network(path: str | Path) -> MviNetwork:
    """A whole network, ready to score, on the CPU.

    Raises
    ------
    FedmviError
        687 it is no file of weights, or one without the local state that the network needs.
    """
    architecture, arrays, _ = _read(Path(path))
    net = build(architecture, seed=0)
    try:
        _fill(dict((*_shared(net), *_local(net))), arrays)
    except FedmviError as error:
        raise FedmviError(687, f"{path}: {error.local}") from error
    return net.eval()


def _is_local(net: MviNetwork) -> frozenset[str]:
    """Names of the tensors that stay at a site."""
    kind = net.architecture.normalisation
    layers = [(name, layer) for name, layer in net.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    kept = {"fedbn": ("weight", "bias", *STATISTICS), "silobn": STATISTICS}.get(kind, ())
    return frozenset(f"{name}.{part}" for name, _ in layers for part in kept)


def _tensors(net: MviNetwork) -> Iterator[tuple[str, Tensor]]:
    """All that the network computes with."""
    yield from net.named_parameters()
    yield from ((name, buffer) for name, buffer in net.named_buffers() if name.rsplit(".", 1)[-1] in STATISTICS)


def _shared(net: MviNetwork) -> list[tuple[str, Tensor]]:
    local = _is_local(net)
    return [(name, tensor) for name, tensor in _tensors(net) if name not in local]


def _local(net: MviNetwork) -> list[tuple[str, Tensor]]:
    local = _is_local(net)
    return [(name, tensor) for name, tensor in _tensors(net) if name in local]


@cache
def _layout(architecture: Architecture) -> tuple[tuple[str, tuple[int, ...], int], ...]:
    """Name, shape and number of each tensor of the vector; no memory is taken for the weights."""
    with torch.device("meta"):
        net = MviNetwork(architecture)
    return tuple((name, tuple(tensor.shape), tensor.numel()) for name, tensor in _shared(net))


def _array(tensor: Tensor) -> NDArray[np.float32]:
    # A copy, in the usual order of memory whatever that of the device is.
    array: NDArray[np.float32] = tensor.detach().cpu().float().numpy().copy(order="C")
    return array


def _check_size(wanted: int, vector: NDArray[np.float32]) -> None:
    if vector.shape != (wanted,):
        raise FedmviError(686, f"{vector.shape} instead of ({wanted},)")


def _fill(tensors: Mapping[str, Tensor], arrays: Arrays) -> None:
    if set(tensors) != set(arrays) or any(tensor.shape != arrays[name].shape for name, tensor in tensors.items()):
        different = sorted(set(tensors) ^ set(arrays))
        raise FedmviError(686, f"tensors {', '.join(different[:3]) or 'of other shapes'}")
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(np.array(arrays[name], np.float32)))


def _write(path: Path, arrays: Arrays, architecture: Architecture, local: str = "") -> None:
    # One word of metadata: safetensors writes several in an order that changes from one process to the next.
    about = canonical_json({_ARCHITECTURE: architecture.text, _LOCAL: local})
    write_whole(path, save(dict(arrays), {_ABOUT: about}))


def _read(path: Path) -> tuple[Architecture, dict[str, NDArray[np.float32]], str]:
    try:
        with safe_open(path, framework="numpy") as file:
            words = json.loads((file.metadata() or {}).get(_ABOUT, "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError, ValueError) as error:
        raise FedmviError(687, f"{path}: {error}") from error
    if not isinstance(words, dict) or any(array.dtype != np.float32 for array in arrays.values()):
        raise FedmviError(687, str(path))
    return Architecture.parse(str(words.get(_ARCHITECTURE, ""))), arrays, str(words.get(_LOCAL, ""))

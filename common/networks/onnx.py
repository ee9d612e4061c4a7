"""common/networks: a trained network as an ONNX graph, for programs without Python."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch

from common.files import write_whole
from common.networks.network import MviNetwork
from common.networks.scorer import PatientScorer
from common.study.features import LANDMARKS

INPUTS = ("stacks", "body", "present")
OUTPUTS = ("mean_over_combinations", "by_first_slices")
OPSET = 20


def write_onnx(
    path: Path, net: MviNetwork, size: int, slices: int, *, masked: bool, told: Mapping[str, str] | None = None
) -> None:
    """Write the graph of `PatientScorer`, for any number of patients at once.

    It takes `stacks` (n, k, s, size, size) float32, s = `slices` of each of the k sequences, as acquired; `body`
    (n, k, 11) float32; and where `masked` also `present` (n, k) bool. It gives `mean_over_combinations` and
    `by_first_slices`, (n, classes) float32 probabilities each; `told` goes into the graph's metadata. (torch.onnx, by
    torch.export.)
    """
    scorer = PatientScorer(net).eval()
    k = len(net.architecture.sequences)
    stacks, body = torch.zeros(2, k, slices, size, size), torch.zeros(2, k, len(LANDMARKS))
    example = (stacks, body, torch.ones(2, k, dtype=torch.bool)) if masked else (stacks, body)
    patients = torch.export.Dim("patients")
    with warnings.catch_warnings():
        # Of the exporter's own parts among themselves.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            scorer,
            example,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=INPUTS[: len(example)],
            output_names=OUTPUTS,
            dynamic_shapes=tuple({0: patients} for _ in example),
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    model = program.model_proto
    onnx.helper.set_model_props(model, dict(told or {}))
    onnx.checker.check_model(model, full_check=True)
    write_whole(path, model.SerializeToString(), 0o644)

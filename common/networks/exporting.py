"""common/networks: a trained network is handed on: a MONAI bundle with an ONNX graph and a model card."""

from __future__ import annotations

import json
from pathlib import Path

from common.networks.bundle import Description, write_bundle
from common.networks.model_card import Exported, model_card
from common.networks.network import MviNetwork
from common.networks.onnx import write_onnx

GRAPH = Path("models", "model.onnx")


def hand_on(to: Path, net: MviNetwork, exported: Exported) -> None:
    """Write the bundle, whole or not at all.

    Parameters
    ----------
    to
        A new folder.
    net
        With everything it computes with, in evaluation mode.
    exported
        What there is to say of it.

    Raises
    ------
    FedmviError
        213 `to` holds something.
    """
    about, masked = exported.about, exported.network.missing == "mask"

    def graph(new: Path) -> None:
        write_onnx(new / GRAPH, net, about.size, about.slices, masked=masked, told=_told(about))

    write_bundle(to, net, about, model_card(exported), add=graph)


def _told(about: Description) -> dict[str, str]:
    """What the graph says of itself to whoever has nothing but the graph."""
    return {
        "name": about.name,
        "title": about.title,
        "intended_use": about.intended_use,
        "levels": json.dumps(about.levels, ensure_ascii=False),
        "cutoffs": json.dumps(dict(about.cutoffs)),
        "study_fingerprint": about.study_fingerprint,
    }

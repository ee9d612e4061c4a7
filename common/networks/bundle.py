"""common/networks: a trained network as a folder that others can use: a MONAI bundle whose weights execute nothing.

    configs/metadata.json      what goes in and comes out, in MONAI's words
    configs/inference.json     for MONAI's ConfigParser: `network_def`, and `inferer` that scores patients
    models/model.safetensors   all weights, and the architecture
    docs/README.md             the model card
    LICENSE                    what may be done with it

(MONAI Bundle Specification, docs.monai.io/en/stable/mb_specification.html; there the weights are a pickle, here not.)
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common.errors import FedmviError
from common.files import write_whole
from common.networks.architecture import Architecture
from common.networks.network import MviNetwork
from common.networks.weights import save_network
from common.study.fingerprint import study_fingerprint
from common.study.intended_use import intended_use
from common.study.networks import Network
from common.study.protocol import Study

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
MONAI = "1.5.0"
"""The oldest release whose ConfigParser is known to read the bundle."""

_WHOSE = {
    False: "The hospitals' own patients; they did not leave the hospitals.",
    True: "Simulated: invented patients, of no hospital.",
}

_LICENSE = """The program that computes this network is FedMVI, under the Apache License, Version 2.0.

The weights were learned from patients of the hospitals that the model card names. Their use is what these hospitals
agreed among themselves; this file grants none. Ask the coordinator of the study.
"""

MODEL = Path("models", "model.safetensors")
CARD = Path("docs", "README.md")


@dataclass(frozen=True)
class Description:
    """What a bundle says of its network in JSON; the model card says the rest.

    Attributes
    ----------
    name
        Of the bundle, such as `demo-dl`.
    title
        What it is, for readers.
    study, sources
        Title of the study, and the publications that it names.
    modality
        `ct` or `mr`.
    levels
        What the classes are called, lowest first.
    size, slices
        Rows and columns of an image, and slices of each sequence.
    statistics
        Where the statistics of normalisation layers come from, as a sentence.
    simulated
        Whether the study's patients are invented.
    study_fingerprint
        SHA-256 of the protocol.
    cutoffs
        Way of inference, and the probability from which on the upper classes are called present; none where unknown.
    """

    name: str
    title: str
    study: str
    sources: tuple[str, ...]
    modality: str
    levels: tuple[str, ...]
    size: int
    slices: int
    statistics: str
    simulated: bool
    study_fingerprint: str
    cutoffs: tuple[tuple[str, float], ...] = ()

    @property
    def intended_use(self) -> str:
        """What it may be used for."""
        return intended_use(simulated=self.simulated)


def describe(
    study: Study,
    network: Network,
    architecture: Architecture,
    statistics: str,
    cutoffs: tuple[tuple[str, float], ...] = (),
) -> Description:
    """What there is to say of a network of a study; error 390 where the study prepares no stacks."""
    preparation, graded = study.preparation, study.endpoint(network.grades)
    if preparation is None or preparation.stacks is None:
        raise FedmviError(390)
    absent_or_present = (f"{graded.title} absent", f"{graded.title} present")
    return Description(
        name=f"{study.study.name}-{network.name}-{'-'.join(architecture.sequences)}",
        title=f"{network.title}: {graded.title} from {', '.join(architecture.sequences)}",
        study=study.study.title,
        sources=study.study.sources,
        modality=preparation.modality,
        levels=graded.level_names if graded.kind == "ordinal" else absent_or_present,
        size=network.size,
        slices=preparation.stacks.slices,
        statistics=statistics,
        simulated=study.study.simulated,
        study_fingerprint=study_fingerprint(study),
        cutoffs=cutoffs,
    )


def write_bundle(
    folder: Path, net: MviNetwork, about: Description, card: str, add: Callable[[Path], None] | None = None
) -> None:
    """Write a bundle, whole or not at all.

    Parameters
    ----------
    folder
        Does not exist yet, or is empty.
    net
        With everything it computes with, local state too.
    about, card
        What is said of it; `card` is Markdown.
    add
        Puts further files into the folder that it is given.

    Raises
    ------
    FedmviError
        213 the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FedmviError(213, str(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as kept:
        new = Path(kept, "bundle")
        for part in ("configs", "models", "docs"):
            (new / part).mkdir(parents=True)
        _write(new / "LICENSE", _LICENSE)
        _write(new / CARD, card)
        _write(new / "configs" / "metadata.json", _json(_metadata(net, about)))
        _write(new / "configs" / "inference.json", _json(_inference()))
        save_network(new / MODEL, net)
        if add is not None:
            add(new)
        new.rename(folder)


def _inference() -> dict[str, Any]:
    """How MONAI puts the bundle together: `inferer` is a `PatientScorer`."""
    return {
        "imports": ["$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "common.networks.weights.read_network",
            "path": f"$@bundle_root + '/{MODEL.as_posix()}'",
        },
        "network": "$@network_def.to(@device)",
        "inferer": {"_target_": "common.networks.scorer.PatientScorer", "network": "@network"},
    }


def _metadata(net: MviNetwork, about: Description) -> dict[str, Any]:
    sequences = net.architecture.sequences
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": "as trained by the study"},
        "monai_version": MONAI,
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"fedmvi": version("fedmvi"), "safetensors": version("safetensors")},
        "name": about.name,
        "task": "Preoperative prediction of microvascular invasion in hepatocellular carcinoma",
        "description": f"{about.title}. {about.statistics}",
        "authors": f"The hospitals of the study: {about.study}",
        "copyright": "See LICENSE",
        "data_source": f"{_WHOSE[about.simulated]} Study: {about.study}",
        "data_type": "ROI stacks as `fedmvi-site prepare` makes them",
        "intended_use": about.intended_use,
        "references": list(about.sources),
        "network_data_format": {
            "inputs": {"image": _image(about, sequences)},
            "outputs": {"pred": _probabilities(about)},
        },
        "fedmvi_architecture": json.loads(net.architecture.text),
        "fedmvi_slices": about.slices,
        "fedmvi_study_fingerprint": about.study_fingerprint,
        "fedmvi_cutoffs": dict(about.cutoffs),
    }


def _image(about: Description, sequences: tuple[str, ...]) -> dict[str, Any]:
    """What `network_def` takes: one slice of each sequence, normalised (`common.networks.intensity`)."""
    return {
        "type": "image",
        "format": "magnitude",
        "modality": about.modality.upper(),
        "num_channels": len(sequences),
        "spatial_shape": [about.size, about.size],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": True,
        "channel_def": {str(i): name for i, name in enumerate(sequences)},
    }


def _probabilities(about: Description) -> dict[str, Any]:
    """What `network_def` gives: logits of the grades."""
    return {
        "type": "tuples",
        "format": "classes",
        "num_channels": len(about.levels),
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {str(i): f"logit of {level}" for i, level in enumerate(about.levels)},
    }


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    write_whole(path, text.encode(), 0o644)

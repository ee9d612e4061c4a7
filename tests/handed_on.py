"""A small frozen model with every coding, and one of scores, for tests of its file and of predictions with it."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common.models.logistic import FrozenModel, Input, Measure, Origin, Performance
from common.models.network import FrozenNetwork
from common.study.dictionary import DICTIONARY, Variable
from common.study.features import feature_variable
from common.study.fingerprint import digest
from common.study.intended_use import intended_use
from common.study.modelling import score_variable
from common.study.networks import Network
from common.study.preparation import Preparation
from common.study.recipe import Impute

FEATURE = "portal.tumour.original_glcm_Contrast"
LDH = Variable(name="ldh", kind="continuous", known="preoperative", unit="U/L", units={"ukat/L": 60.0})
TERMS = ("age", "log(ldh)", "afp>20", "sex=male", "child_pugh=B", "child_pugh=C")
COEF = (-2.3, 0.021, 0.43, 0.91, 0.37, -0.62, 0.8)
MEANS = (57.0, 5.4, 0.5, 0.8, 0.1, 0.02)


def inputs() -> tuple[Input, ...]:
    return (
        Input(variable=DICTIONARY["age"], coding="linear", usual=(35.0, 79.0)),
        Input(variable=LDH, coding="log", usual=(80.0, 600.0)),
        Input(variable=DICTIONARY["afp"], coding="above", cutoff=20.0),
        Input(variable=DICTIONARY["sex"], coding="levels"),
        Input(variable=DICTIONARY["child_pugh"], coding="levels"),
    )


def small_model(**changes: Any) -> FrozenModel:
    """Missing values are filled with means; the cut-off is 0.5; the hospitals are real."""
    size = len(COEF)
    given: dict[str, Any] = {
        "intended_use": intended_use(simulated=False),
        "name": "hybrid",
        "title": "Hybrid model",
        "endpoint": "Microvascular invasion",
        "timing": "preoperative",
        "inputs": inputs(),
        "terms": TERMS,
        "coefficients": COEF,
        "covariance": tuple(tuple(0.01 * (i == j) + 0.001 for j in range(size)) for i in range(size)),
        "missing": "mean",
        "filling": Impute(TERMS, MEANS),
        "cutoff": 0.5,
        "cutoff_rule": "Youden's index in the training cohort",
        "origin": Origin(
            study="ct", title="A study", sources=("A paper",), simulated=False, study_fingerprint="a" * 64,
            code_fingerprint="b" * 64, preparation_fingerprint="c" * 64, cohort="train",
            sites=("alpha", "beta", "gamma"), left_out=(), n=300, events=120, how="exact-masked",
        ),
        "performance": (
            Performance(statistic="auc", cohort="train", role="train", sites=("alpha", "beta", "gamma"),
                        how="exact-masked", status="estimated", n=300, events=120,
                        measures=(Measure(name="auc", value=0.8, low=0.75, high=0.85),)),
        ),
    }  # fmt: skip
    return FrozenModel(**(given | changes))


def on_a_feature() -> FrozenModel:
    """A model of one feature of images and age, for complete cases."""
    return small_model(
        inputs=(
            Input(variable=feature_variable(FEATURE), coding="linear", usual=(0.0, 10.0)),
            Input(variable=DICTIONARY["age"], coding="linear", usual=(35.0, 79.0)),
        ),
        terms=(FEATURE, "age"), coefficients=(0.1, 0.2, 0.0), covariance=((0.01,) * 3,) * 3, missing="complete-case",
        filling=None,
    )  # fmt: skip


RADIOMICS, DEEP = "score.radiomics", "score.dl"
SEQUENCES = ("arterial", "portal")
PREPARATION = Preparation.model_validate(
    {"modality": "ct", "phases": ("plain", *SEQUENCES), "reference": "portal", "registration": {"method": "none"},
     "resampling": {"spacing_mm": (4.0, 4.0, 5.0)}, "stacks": {"size": 32, "slices": 2},
     "radiomics": {"regions": ("tumour",), "classes": ("glcm",), "log_sigma_mm": (), "wavelet": "none"}}
)  # fmt: skip
"""Two features' worth of work on coarse voxels."""

NETWORK = Network.model_validate(
    {"name": "dl", "endpoint": "mvi", "cohort": "train", "combinations": (SEQUENCES,), "width": 8, "blocks": 1,
     "size": 32}
)  # fmt: skip


def network_weights(network: Network = NETWORK, seed: int = 3) -> bytes:
    """The file of a network's weights, drawn and not trained."""
    import torch

    from common.networks.architecture import architecture_of
    from common.networks.network import build
    from common.networks.weights import save_weights, to_vector

    architecture = architecture_of(network, SEQUENCES, 2)
    net = build(architecture, seed)
    with torch.no_grad():
        net.head.weight.normal_(std=1.0, generator=torch.Generator().manual_seed(seed))
    with TemporaryDirectory() as place:
        save_weights(Path(place, "w.safetensors"), architecture, to_vector(net))
        return Path(place, "w.safetensors").read_bytes()


def frozen_network(weights: bytes, network: Network = NETWORK) -> FrozenNetwork:
    return FrozenNetwork(
        title="DL-MVI", endpoint="Microvascular invasion", network=network, sequences=SEQUENCES, classes=2,
        weights=digest(weights),
    )  # fmt: skip


def of_scores(weights: bytes | None = None, **changes: Any) -> FrozenModel:
    """The size, a radiomics score and, where there are weights, whether a network's score reaches 0.5; no filling.

    logit = -1 + 0.2 size + 3 score.radiomics + 1.5 (score.dl >= 0.5), with logit score.radiomics = -4 + 1.5 contrast.
    """
    part = small_model(
        name="tumour", title="Radiomics score", terms=(FEATURE,), coefficients=(-4.0, 1.5), covariance=None,
        inputs=(Input(variable=feature_variable(FEATURE), coding="linear", usual=(0.0, 10.0)),),
        missing="complete-case", filling=None, cutoff=None, cutoff_rule="",
    )  # fmt: skip
    size = DICTIONARY["tumour_size_imaging"]
    inputs = [Input(variable=size, coding="linear", usual=(1.0, 9.0)), Input(
        variable=score_variable(RADIOMICS, "Radiomics score"), coding="linear", usual=(0.05, 0.95))]  # fmt: skip
    scores: dict[str, FrozenModel | FrozenNetwork] = {RADIOMICS: part}
    terms = [size.name, RADIOMICS]
    coefficients = [-1.0, 0.2, 3.0]
    if weights is not None:
        inputs.append(Input(variable=score_variable(DEEP, "DL-MVI"), coding="above", cutoff=0.5))
        terms, scores = [*terms, f"{DEEP}>=cut-off"], {**scores, DEEP: frozen_network(weights)}
        coefficients.append(1.5)
    p = len(coefficients)
    given: dict[str, Any] = {
        "inputs": tuple(inputs), "terms": tuple(terms), "coefficients": tuple(coefficients), "scores": scores,
        "covariance": tuple(tuple(0.01 * (i == j) for j in range(p)) for i in range(p)), "missing": "complete-case",
        "filling": None, "preparation": PREPARATION,
    }  # fmt: skip
    return small_model(**(given | changes))

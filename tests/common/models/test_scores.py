"""common/models: a model whose inputs are scores of others: they are computed, rounded and cut as in the run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from common.models.archive import MAX_FILE_BYTES, pack_model, read_model
from common.models.logistic import FrozenModel
from common.models.network import FrozenNetwork
from common.study.table import Column, SiteTable
from tests.client.enrolled import signer
from tests.common.models.test_archive import members, refusal, whole, zipped
from tests.handed_on import DEEP, FEATURE, NETWORK, RADIOMICS, frozen_network, network_weights, of_scores, small_model


def table(size: list[float], contrast: list[float], deep: list[float] | None = None) -> SiteTable:
    given = {"tumour_size_imaging": size, FEATURE: contrast} | ({DEEP: deep} if deep is not None else {})
    n = len(size)
    columns = {name: Column(np.array(v, float), (), np.zeros(n, np.int8)) for name, v in given.items()}
    return SiteTable(tuple(f"p{i}" for i in range(n)), columns, {}, {}, ("",) * n)


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_the_score_of_a_part_enters_with_four_decimals_and_a_network_by_whether_it_reaches_its_cutoff() -> None:
    sizes, contrasts, deep = [3.0, 5.5, 2.0], [2.123, 3.456, 1.0], [0.4999, 0.5, 0.5001]
    found = of_scores(network_weights()).predict(table(sizes, contrasts, deep))
    radiomics = [round(logistic(-4 + 1.5 * c), 4) for c in contrasts]
    assert list(found.scores[RADIOMICS]) == radiomics
    wanted = [
        logistic(-1 + 0.2 * s + 3 * r + 1.5 * high) for s, r, high in zip(sizes, radiomics, (0, 1, 1), strict=True)
    ]
    np.testing.assert_allclose(found.probability, wanted, rtol=0, atol=1e-14)
    # Without the rounding there would be another probability: the claim is one.
    unrounded = logistic(-1 + 0.2 * sizes[0] + 3 * logistic(-4 + 1.5 * contrasts[0]))
    assert abs(unrounded - wanted[0]) > 1e-7


def test_without_a_score_there_is_no_probability_and_a_shrunk_model_has_no_interval() -> None:
    model = of_scores(network_weights())
    found = model.predict(table([3.0, 3.0, 3.0], [2.0, np.nan, 2.0], [0.6, 0.6, np.nan]))
    assert list(np.isnan(found.probability)) == [False, True, True]
    part = model.scores[RADIOMICS]
    assert isinstance(part, FrozenModel)
    alone = part.predict(table([3.0], [2.0]))
    assert alone.probability[0] == pytest.approx(logistic(-1.0), abs=1e-14)
    assert np.isnan([alone.low[0], alone.high[0]]).all()


def test_the_inputs_of_the_parts_are_inputs_of_the_whole() -> None:
    model = of_scores(network_weights())
    assert [v.name for v in model.variables] == ["tumour_size_imaging", FEATURE]
    assert model.features == (FEATURE,)
    assert list(model.networks) == [DEEP]


def test_a_model_with_a_network_is_one_signed_file_and_the_same_model_the_same_bytes(tmp_path: Path) -> None:
    weights = network_weights()
    content = pack_model(of_scores(weights), "# Hybrid\n", signer(1), {"dl": weights})
    (tmp_path / "m.zip").write_bytes(content)
    handed = read_model(tmp_path / "m.zip")
    assert handed.model == of_scores(weights) and handed.weights == {"dl": weights}
    assert pack_model(of_scores(weights), "# Hybrid\n", signer(1), {"dl": network_weights()}) == content
    assert list(members(content))[3:] == ["networks/dl.safetensors", "signature.json"]


def test_a_network_whose_weights_were_changed_taken_out_or_put_beside_is_refused(tmp_path: Path) -> None:
    weights, other = network_weights(), network_weights(seed=4)
    entire = members(pack_model(of_scores(weights), "# Hybrid\n", None, {"dl": weights}))
    changed = members(pack_model(of_scores(other), "# Hybrid\n", None, {"dl": other}))
    name = "networks/dl.safetensors"
    flipped = weights[:-1] + bytes([weights[-1] ^ 1])
    for mixed in (
        {**entire, name: flipped},
        {**entire, name: other},
        # Whoever needs no key may write the manifest anew: the model itself says which weights are its own.
        {**entire, name: other, "manifest.json": changed["manifest.json"]},
        {**changed, "model.json": entire["model.json"]},
        {key: part for key, part in entire.items() if key != name},
        {**entire, "networks/more.safetensors": other},
        {**entire, "networks/dl.pkl": weights},
    ):
        refusal(tmp_path / "m.zip", zipped(list(mixed.items())))
    with pytest.raises(ValueError, match="weights"):
        pack_model(of_scores(weights), "# Hybrid\n", None, {"dl": other})
    with pytest.raises(ValueError, match="weights"):
        pack_model(of_scores(weights), "# Hybrid\n", None)


@pytest.mark.parametrize(
    "changes",
    [
        {"scores": {}},
        {"scores": {"score.other": small_model()}},
        {"scores": {RADIOMICS: of_scores()}},
        {"scores": {RADIOMICS: frozen_network(b""), "score.more": small_model()}},
        {"scores": {RADIOMICS: frozen_network(b"")}, "preparation": None},
    ],
    ids=["no part", "another part", "a part with parts", "a part too many", "a network without stacks"],
)
def test_parts_that_are_not_those_of_the_inputs_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        of_scores(**changes)


def test_a_network_that_is_whole_only_at_one_hospital_is_no_part_of_a_model() -> None:
    staying = NETWORK.model_copy(update={"normalisation": "fedbn"})
    with pytest.raises(ValidationError, match="belongs to one hospital"):
        frozen_network(b"", staying)
    with pytest.raises(ValidationError, match="combinations"):
        FrozenNetwork.model_validate({**frozen_network(b"").model_dump(), "sequences": ("plain",)})


def test_a_file_without_networks_is_no_larger_than_numbers_and_words_are(tmp_path: Path) -> None:
    padded = json.dumps(small_model().model_dump(mode="json")).encode() + b" " * MAX_FILE_BYTES
    assert "more than 8000000 bytes" in refusal(tmp_path / "m.zip", whole(padded)).local

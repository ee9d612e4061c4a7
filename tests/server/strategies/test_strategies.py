"""server/strategies: steps against Flower's own strategy classes, and against means worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flwr.common import Code, FitRes, Parameters, Status, ndarrays_to_parameters, parameters_to_ndarrays
from flwr.server.client_proxy import ClientProxy
from flwr.server.strategy import FedAdam as FlowerFedAdam
from flwr.server.strategy import FedAvg as FlowerFedAvg
from flwr.server.strategy import FedTrimmedAvg

from common.errors import FedmviError
from common.study.networks import FederatedTraining
from server.strategies.choice import strategy_of
from server.strategies.fedadam import FedAdam
from server.strategies.fedavg import FedAvg
from server.strategies.scaffold import Scaffold
from server.strategies.strategy import FloatArray, RoundTotal, State, Strategy
from server.strategies.trimmed_mean import TrimmedMean

SIZE = 50


class _Site(ClientProxy):
    """Flower's strategies need an address for each result, and nothing of it."""

    def _none(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    get_properties = get_parameters = fit = evaluate = reconnect = _none


def _results(weights: list[FloatArray], patients: list[int]) -> list[tuple[ClientProxy, FitRes]]:
    status = Status(Code.OK, "")
    return [
        (_Site(str(i)), FitRes(status, ndarrays_to_parameters([w]), n, {}))
        for i, (w, n) in enumerate(zip(weights, patients, strict=True))
    ]


def _array(parameters: Parameters | None) -> FloatArray:
    assert parameters is not None
    return np.asarray(parameters_to_ndarrays(parameters)[0], dtype=np.float64)


def _total(weights: list[FloatArray], patients: list[int], at: FloatArray) -> RoundTotal:
    parts = tuple(RoundTotal(n * (w - at), n) for w, n in zip(weights, patients, strict=True))
    return RoundTotal(np.sum([p.update for p in parts], axis=0), sum(patients), parts=parts)


def _drift(rng: np.random.Generator, at: FloatArray, sites: int) -> list[FloatArray]:
    """Weights after local training: from the same start, somewhere else at each site."""
    return [at + rng.normal(0.01, 0.1, SIZE) for _ in range(sites)]


def _run(strategy: Strategy, flower: Any, first_round: int, sites: int = 4) -> None:
    rng = np.random.default_rng(3)
    state = strategy.begin(rng.normal(size=SIZE).astype(np.float32))
    for r in range(5):
        at = state.weights.astype(np.float64)
        weights, patients = _drift(rng, at, sites), rng.integers(5, 60, sites).tolist()
        theirs, _ = flower.aggregate_fit(first_round + r, _results(weights, patients), [])
        state = strategy.step(state, _total(weights, patients, at))
        np.testing.assert_allclose(state.weights, _array(theirs), rtol=2e-6, atol=1e-7)
        if hasattr(flower, "current_weights"):  # ours are rounded to what is broadcast; both go on from the same
            flower.current_weights = [state.weights.astype(np.float64)]


def test_fedavg_of_two_sites_is_the_mean_worked_out_by_hand() -> None:
    at = np.array([1.0, -2.0, 0.5], dtype=np.float32)
    total = _total([np.array([2.0, -2.0, 1.0]), np.array([0.0, -5.0, 1.0])], [30, 10], at.astype(np.float64))
    stepped = FedAvg().step(FedAvg().begin(at), total).weights
    np.testing.assert_array_equal(stepped, np.array([1.5, -2.75, 1.0], dtype=np.float32))


def test_fedavg_is_flowers() -> None:
    _run(FedAvg(), FlowerFedAvg(), 1)


def test_fedadam_is_flowers_with_its_rounds_counted_from_nought() -> None:
    """Flower corrects the bias of its first round as if it were the second; Adam's paper counts from one, as we do."""
    start = np.random.default_rng(3).normal(size=SIZE).astype(np.float32)
    begin = ndarrays_to_parameters([start.astype(np.float64)])
    flower = FlowerFedAdam(initial_parameters=begin, eta=0.02, beta_1=0.9, beta_2=0.99, tau=1e-3)
    _run(FedAdam(0.02, 0.9, 0.99, 1e-3), flower, 0)


def test_trimmed_mean_is_flowers() -> None:
    _run(TrimmedMean(0.2), FedTrimmedAvg(beta=0.2), 1, sites=7)


def test_a_trimmed_mean_does_not_feel_one_site_that_sends_nonsense() -> None:
    rng = np.random.default_rng(1)
    at = np.zeros(SIZE)
    weights = _drift(rng, at, 5)
    wild = [*weights[:4], np.full(SIZE, 1e6)]
    begin = TrimmedMean(0.2).begin(at.astype(np.float32))
    assert np.abs(TrimmedMean(0.2).step(begin, _total(wild, [20] * 5, at)).weights).max() < 0.5
    assert np.abs(FedAvg().step(begin, _total(wild, [20] * 5, at)).weights).min() > 1e5


def test_scaffolds_variates_sum_to_nought_over_patients_in_every_round() -> None:
    rng = np.random.default_rng(5)
    patients = np.array([12, 40, 7])
    own = np.zeros((3, SIZE))
    strategy = Scaffold()
    state = strategy.begin(np.zeros(SIZE, dtype=np.float32))
    for _ in range(6):
        change = rng.normal(size=own.shape)
        own += change
        variate = patients @ change
        state = strategy.step(state, RoundTotal(np.zeros(SIZE), int(patients.sum()), variate))
        np.testing.assert_allclose(patients @ (own - state.memory["variate"]), 0.0, atol=1e-10)


def test_what_is_no_number_any_more_is_a_numbered_error() -> None:
    state = State(np.zeros(2, dtype=np.float32))
    with pytest.raises(FedmviError) as caught:
        FedAvg().step(state, RoundTotal(np.array([1e300, 0.0]), 1))
    assert caught.value.number == 680
    with pytest.raises(FedmviError) as caught:
        FedAvg().step(state, RoundTotal(np.zeros(2), 0))
    assert caught.value.number == 681


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "fedadam", "scaffold", "trimmed-mean"])
def test_every_strategy_of_a_protocol_has_its_step(name: str) -> None:
    strategy = strategy_of(FederatedTraining.model_validate({"strategy": name}))
    assert (strategy.variates, strategy.by_site) == (name == "scaffold", name == "trimmed-mean")
    assert isinstance(strategy, FedAvg) == (name in ("fedavg", "fedprox"))

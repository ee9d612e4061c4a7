"""tests/client/learning: private training clips every patient, adds the noise it should, and never overspends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from opacus.accountants import RDPAccountant
from scipy import stats

from client.learning.noise import KeyedStream
from client.learning.privacy import STEPS, Budget, PrivateGradient, steps_taken
from common.errors import FedmviError
from common.study.networks import Network

SECRET = b"a secret of this site, 32 bytes."


def network(**privacy: float) -> Network:
    return Network.model_validate(
        {
            "name": "dl",
            "endpoint": "mvi",
            "cohort": "train",
            "combinations": (("t1a", "t1v"),),
            "width": 8,
            "blocks": 1,
            "size": 32,
            "training": {"batch": 4, "optimiser": "sgd", "momentum": 0.0, "weight_decay": 0.0, "augmentation": False},
            "federation": {"rounds": 10, "epochs_per_round": 2},
            "privacy": {"epsilon": 3.0, "delta": 1e-3, **privacy},
        }
    )


def gradient_of(
    patients: list[list[torch.Tensor]], noise_multiplier: float = 0.0, norm: float = 1.0, key: bytes = b"a"
) -> torch.Tensor:
    """The noisy mean over two expected patients, of layers of 6 and 4,000 weights, as one vector."""
    layers = [torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(4000))]
    made = PrivateGradient(
        torch.optim.SGD(layers, lr=1.0),
        noise_multiplier=noise_multiplier,
        max_grad_norm=norm,
        expected=2,
        stream=KeyedStream(SECRET, [key]),
    )
    for patient in patients:
        made.add(patient)
    made.finish()
    return torch.cat([layer.grad.flatten() for layer in layers if layer.grad is not None])


def of_norm(norm: float, seed: int) -> list[torch.Tensor]:
    drawn = torch.randn(4006, generator=torch.Generator().manual_seed(seed))
    drawn *= norm / drawn.norm()
    return [drawn[:6].view(2, 3), drawn[6:]]


@pytest.mark.parametrize("norm", [0.5, 1.0, 7.0, 1e6])
def test_no_patient_moves_the_sum_by_more_than_the_clipping_norm(norm: float) -> None:
    others = [of_norm(0.3, seed=1), of_norm(20.0, seed=2)]
    moved = gradient_of([*others, of_norm(norm, seed=3)]) - gradient_of(others)
    assert float(moved.norm()) == pytest.approx(min(norm, 1.0) / 2, rel=1e-4)  # 2 are expected


def test_patients_below_the_norm_are_added_as_they_are() -> None:
    small = [of_norm(0.2, seed=1), of_norm(0.9, seed=2), of_norm(0.4, seed=3)]
    whole = torch.stack([torch.cat([part.flatten() for part in patient]) for patient in small]).sum(dim=0)
    assert torch.allclose(gradient_of(small), whole / 2, atol=1e-6)


def test_the_noise_is_gaussian_and_as_strong_as_calibrated_even_without_a_patient() -> None:
    noise = gradient_of([], noise_multiplier=1.5, norm=0.4).numpy()
    assert stats.kstest(noise, "norm", args=(0.0, 1.5 * 0.4 / 2)).pvalue > 0.01
    many = [of_norm(5.0, seed=seed) for seed in range(9)]
    beside = (gradient_of(many, 1.5, 0.4) - gradient_of(many, 0.0, 0.4)).numpy()
    assert np.allclose(beside, noise, atol=1e-6)  # it does not depend on whom it hides


def test_noise_repeats_for_the_same_purpose_and_is_unrelated_for_another() -> None:
    def drawn(secret: bytes, *context: bytes) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return KeyedStream(secret, context).normal(5000)

    assert np.array_equal(drawn(SECRET, b"round 1", b"weights"), drawn(SECRET, b"round 1", b"weights"))
    for other in ((b"round 2", b"weights"), (b"round 1", b"weightz"), (b"round 1w", b"eights"), (b"round 1weights",)):
        assert abs(stats.pearsonr(drawn(SECRET, b"round 1", b"weights"), drawn(SECRET, *other)).statistic) < 0.06
    theirs = drawn(b"a secret of another site, as many", b"round 1", b"weights")
    assert abs(stats.pearsonr(drawn(SECRET, b"round 1", b"weights"), theirs).statistic) < 0.06


def test_a_stream_goes_on_and_its_numbers_are_uniform() -> None:
    whole = KeyedStream(SECRET, [b"x"]).uniform(20_000)
    stream = KeyedStream(SECRET, [b"x"])
    assert np.array_equal(np.concatenate([stream.uniform(7), stream.uniform(19_993)]), whole)
    assert stats.kstest(whole, "uniform").pvalue > 0.01
    assert 0 < whole.min() < whole.max() < 1


def test_epsilon_is_that_of_opacus_own_accountant_step_by_step() -> None:
    budget = Budget.of(network(), patients=22)
    assert (budget.rate, budget.steps_per_round) == (4 / 22, 2 * 6)
    accountant = RDPAccountant()
    for _ in range(30):
        accountant.step(noise_multiplier=1.1, sample_rate=4 / 22)
    assert budget.spent(1.1, 30) == pytest.approx(accountant.get_epsilon(1e-3), rel=1e-9)
    assert budget.spent(1.1, 0) == 0


@pytest.mark.parametrize("epsilon", [0.5, 3.0, 8.0])
def test_all_rounds_together_spend_the_epsilon_and_not_more(epsilon: float) -> None:
    budget = Budget.of(network(epsilon=epsilon), patients=22)
    spent = budget.spent(budget.noise_multiplier, budget.steps_per_round * budget.rounds)
    assert 0.98 * epsilon < spent <= epsilon


def test_more_rounds_and_less_epsilon_need_more_noise() -> None:
    noise = {
        (epsilon, rounds): Budget(epsilon, 1e-4, 20, 4, 1, rounds).noise_multiplier
        for epsilon in (1.0, 4.0)
        for rounds in (5, 50)
    }
    assert noise[1.0, 50] > noise[1.0, 5] > noise[4.0, 5]
    assert noise[1.0, 50] > noise[4.0, 50] > noise[4.0, 5]


def test_a_budget_that_the_patients_are_too_few_for_is_refused() -> None:
    with pytest.raises(FedmviError, match="398"):
        Budget.of(network(delta=0.009), patients=120)  # above 1 / 120
    with pytest.raises(FedmviError, match="398"):
        Budget(1e-4, 1e-4, 10, 10, 100, 2000).noise_multiplier  # noqa: B018


def test_a_round_beyond_the_budget_is_refused() -> None:
    budget = Budget.of(network(), patients=22)
    local: dict[str, np.ndarray[tuple[()], np.dtype[np.float32]]] = {}
    for round in range(budget.rounds):
        steps = steps_taken(budget, round, local)
        assert steps == round * budget.steps_per_round
        local = {STEPS: np.array(steps + budget.steps_per_round, np.float32)}
    with pytest.raises(FedmviError, match="399"):
        steps_taken(budget, budget.rounds, local)


def test_a_round_that_lost_its_account_is_refused() -> None:
    budget = Budget.of(network(), patients=22)
    with pytest.raises(FedmviError, match="399"):
        steps_taken(budget, 3, {})
    with pytest.raises(FedmviError, match="399"):
        steps_taken(budget, 0, {STEPS: np.array(12, np.float32)})

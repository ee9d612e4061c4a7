"""client/learning: what differentially private training may spend, and how its gradients are clipped and made noisy.

DP-SGD (Abadi et al., CCS 2016, algorithm 1): in each step every patient takes part with the same probability, of his
own; each patient's gradient is clipped to one norm; Gaussian noise in proportion to it is added to their sum. A
patient's loss is the mean over his combinations of slices, so that all his slices are one gradient. Two tables are
neighbours if one has one patient more. Clipping, noise level and accountant (Renyi differential privacy, Mironov 2017;
of the subsampled Gaussian mechanism, Mironov et al. 2019) are Opacus'. What happens to a noisy gradient afterwards
(momentum, decay, a proximal term) spends nothing.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.accountants import RDPAccountant
from opacus.accountants.utils import get_noise_multiplier
from opacus.optimizers import DPOptimizer
from torch import Tensor

from client.learning.noise import KeyedStream
from common.errors import FedmviError
from common.study.networks import Network

STEPS = "private.steps"
"""What the site's local state says of the budget: the number of steps that were taken."""

_ORDERS = (*RDPAccountant.DEFAULT_ALPHAS, *range(64, 257, 8), 320, 384, 512, 768, 1024)
"""Of the Renyi divergence: the accountant's own, and larger ones, which small budgets need."""


@dataclass(frozen=True)
class Budget:
    """What one training may spend at one site.

    Attributes
    ----------
    epsilon, delta
        Of all rounds together.
    patients
        Who are trained on here.
    batch
        Patients that a step has on average.
    epochs_per_round, rounds
        The protocol's; all of them are paid for in advance.
    """

    epsilon: float
    delta: float
    patients: int
    batch: int
    epochs_per_round: int
    rounds: int

    @classmethod
    def of(cls, network: Network, patients: int) -> Budget:
        """The protocol's budget at a site with so many patients to train on.

        Raises
        ------
        FedmviError
            398 delta is not below 1 / patients: such a delta lets one patient be told whole.
        """
        privacy, training, federation = network.privacy, network.training, network.federation
        if privacy is None:
            raise ValueError(f"{network.name} is not trained in private")
        if patients < 1 or privacy.delta * patients >= 1:
            raise FedmviError(398, f"delta {privacy.delta} for {patients} patients")
        batch = min(training.batch * training.accumulate, patients)
        return cls(privacy.epsilon, privacy.delta, patients, batch, federation.epochs_per_round, federation.rounds)

    @property
    def rate(self) -> float:
        """Probability with which a patient takes part in a step."""
        return self.batch / self.patients

    @property
    def steps_per_round(self) -> int:
        """As many as pass about all patients in each epoch."""
        return math.ceil(self.patients / self.batch) * self.epochs_per_round

    @property
    def noise_multiplier(self) -> float:
        """Standard deviation of the noise, in clipping norms, with which all rounds together stay within epsilon.

        Raises
        ------
        FedmviError
            398 no noise is enough.
        """
        return _multiplier(self)

    def spent(self, noise_multiplier: float, steps: int) -> float:
        """Epsilon after so many steps, by Opacus' accountant."""
        if steps == 0:
            return 0.0
        accountant = RDPAccountant()
        accountant.history = [(noise_multiplier, self.rate, steps)]
        with warnings.catch_warnings():
            # That the best of our orders is the last one: the bound is then looser than it might be, and still holds.
            warnings.filterwarnings("ignore", message="Optimal order")
            return float(accountant.get_epsilon(self.delta, alphas=list(_ORDERS)))


@lru_cache(maxsize=64)
def _multiplier(budget: Budget) -> float:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Optimal order")
            found = get_noise_multiplier(
                target_epsilon=budget.epsilon,
                target_delta=budget.delta,
                sample_rate=budget.rate,
                steps=budget.steps_per_round * budget.rounds,
                epsilon_tolerance=budget.epsilon / 100,
                alphas=list(_ORDERS),
            )
    except ValueError as error:
        raise FedmviError(398, str(error)) from error
    return float(found)


def steps_taken(budget: Budget, round: int, local: Mapping[str, NDArray[np.float32]]) -> int:
    """Steps before a round, by the local state of the round before; the round's own still fit into the budget.

    Raises
    ------
    FedmviError
        399 the round would spend more than the budget, or goes on from a state that does not say what was spent.
    """
    steps = int(local[STEPS]) if STEPS in local else 0
    if (round > 0) != (steps > 0) or steps + budget.steps_per_round > budget.steps_per_round * budget.rounds:
        raise FedmviError(399, f"round {round} after {steps} of {budget.steps_per_round * budget.rounds} steps")
    return steps


class PrivateGradient:
    """The noisy mean of clipped gradients: `add` each patient of a step, then `finish`.

    Opacus clips and adds up; a gradient is clipped when it is added, so that one is held at a time. The noise is of AES
    (`KeyedStream`): Opacus offers that of a cryptographic generator (`secure_mode`) by a library which present versions
    of torch cannot be used with. That not every float is a possible value of such noise, which tells something of the
    sum beneath it (Mironov, CCS 2012), is met by drawing it in float64 and rounding the noisy mean to float32.

    Parameters
    ----------
    optimiser
        Its parameters have the gradients; their `grad` is the noisy mean after `finish`.
    noise_multiplier, max_grad_norm
        Of the noise, in norms; and the norm to which a patient's gradient is clipped.
    expected
        Patients that a step has on average; the sum is divided by it, whatever the draw gave.
    stream
        Where the noise is from.
    """

    def __init__(
        self,
        optimiser: torch.optim.Optimizer,
        *,
        noise_multiplier: float,
        max_grad_norm: float,
        expected: int,
        stream: KeyedStream,
    ) -> None:
        self._sum = DPOptimizer(
            optimiser, noise_multiplier=0.0, max_grad_norm=max_grad_norm, expected_batch_size=expected
        )
        self._deviation = noise_multiplier * max_grad_norm / expected
        self._stream = stream

    def add(self, gradients: Iterable[Tensor]) -> None:
        """Clip one patient's gradient, a tensor a parameter, and add it to the sum; one that is no number counts 0.

        A gradient with an infinite norm cannot be clipped, and would leave a sum in which one patient is seen.
        """
        whole = [gradient.detach() for gradient in gradients]
        finite = bool(torch.stack([gradient.isfinite().all() for gradient in whole]).all())
        for parameter, gradient in zip(self._sum.params, whole, strict=True):
            parameter.grad_sample = (gradient if finite else torch.zeros_like(gradient))[None]
        self._sum.signal_skip_step(do_skip=True)
        self._sum.pre_step()
        self._sum.zero_grad()

    def finish(self) -> None:
        """Divide and add the noise, also where the draw gave no patient; the next `add` begins a new sum."""
        for parameter in self._sum.params:
            parameter.grad_sample = parameter.detach().new_zeros((0, *parameter.shape))
        self._sum.signal_skip_step(do_skip=False)
        self._sum.pre_step()
        for parameter in self._sum.params:
            noise = torch.from_numpy(self._stream.normal(parameter.numel()) * self._deviation).view(parameter.shape)
            noisy = parameter.grad.double().cpu() + noise
            parameter.grad = noisy.to(parameter.dtype).to(parameter.device)
            parameter.grad_sample = parameter.summed_grad = None

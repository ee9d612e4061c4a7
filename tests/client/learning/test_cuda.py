"""tests/client/learning: what only a GPU can show: skipped without CUDA, and not run with it so far."""

from __future__ import annotations

import multiprocessing
import time
from typing import Any

import numpy as np
import pytest
import torch

from client.learning.device import computing
from client.learning.engine import Trained, loss_sum, train
from common.errors import FedmviError
from common.study.networks import Network, Training
from tests.client.learning.drawn_learners import NO_VARIATE, drawn_learners, first_weights, small_network

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")

CLASS_WEIGHTS = (0.7, 1.9)
SEED = b"of this site's secret, 32 bytes."
HELD_S = 1.0


def a_round(network: Network) -> Trained:
    asked: dict[str, Any] = {"class_weights": CLASS_WEIGHTS, "seed": SEED, "round": 0, "variate": NO_VARIATE}
    return train(network, drawn_learners(12), first_weights(network), local={}, **asked)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_gives_the_same_bytes(precision: str) -> None:
    network = small_network({"precision": precision, "deterministic": True, "augmentation": {}})
    first, again = a_round(network), a_round(network)
    assert first.update.tobytes() == again.update.tobytes()
    assert np.any(first.update != 0)


def test_the_loss_in_bfloat16_is_that_in_float32_to_its_digits() -> None:
    found = []
    for precision in ("fp32", "bf16"):
        network = small_network({"precision": precision})
        found.append(loss_sum(network, drawn_learners(12), first_weights(network), CLASS_WEIGHTS, {}))
    # bfloat16 has eight binary digits.
    assert found[1] == pytest.approx(found[0], rel=2**-6)


def _hold(began: Any, spans: Any) -> None:
    with computing(Training()):
        start = time.monotonic()
        began.set()
        time.sleep(HELD_S)
        spans.put((start, time.monotonic()))


def test_two_processes_take_turns() -> None:
    context = multiprocessing.get_context("spawn")
    began, spans = context.Event(), context.Queue()
    processes = [context.Process(target=_hold, args=(began, spans)) for _ in range(2)]
    for process in processes:
        process.start()
    (first, second) = sorted(spans.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(60)
    assert second[0] >= first[1]


def test_too_little_memory_is_392_and_the_next_training_has_it_again() -> None:
    network = small_network()
    with pytest.raises(FedmviError) as raised, computing(network.training) as used:
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.empty(2 * whole, dtype=torch.uint8, device=used.device)
    assert raised.value.number == 392
    assert np.all(np.isfinite(a_round(network).update))


def test_a_private_step_is_taken_and_repeats_its_noise() -> None:
    privacy = {"epsilon": 5.0, "delta": 1e-3, "max_grad_norm": 0.5}
    network = small_network({"batch": 12}, {"rounds": 1}, privacy=privacy)
    first, again = a_round(network), a_round(network)
    assert np.all(np.isfinite(first.update)) and np.any(first.update != 0)
    assert first.update.tobytes() == again.update.tobytes()

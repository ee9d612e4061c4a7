"""simulation: benchmarks: an epoch of training, beside the plain PyTorch loop, on the same device in one run.

plain    `baselines/plain_training.py`: every one of a patient's 27 combinations passes the trunk by itself; float32
ours     `client/learning/engine.py`: every one of his 9 slices passes once; in the precision that the device gains by

Both train the same network on the same pictures, whose content does not matter for time, each in a process of its
own. A whole epoch of the plain loop takes more than an hour on two processors: both are timed on a part, which is
stated, and scaled by the number of patients. Before anything is timed both must have the same loss and the same
gradient wherever they compute the same: no augmentation, float32, same weights.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from client.learning import engine
from client.learning.dataset import Learners
from client.learning.device import computing
from client.learning.performing import round_of
from common.federation.learning import Job, TrainRound
from common.networks.architecture import architecture_of
from common.networks.network import MviNetwork, build
from common.networks.weights import to_vector
from common.study.features import LANDMARKS
from common.study.networks import Network
from simulation.benchmarks.baselines.plain_training import BATCH, Combinations, PlainLoop, plain_logits
from simulation.benchmarks.measuring import Benchmark, Timed

SEQUENCES = ("t1a", "t1v", "t1d")
SLICES = 3
CLASSES = 3
WEIGHTS = (0.8, 1.0, 1.3)
"""Of the classes in the loss."""
TOLERANCE = 1e-4
"""Largest relative difference of loss and gradient."""
GIGA = 1e9
Precision = Literal["float32", "tensorfloat32", "bfloat16"]


@dataclass(frozen=True)
class Workload:
    """What is trained, and how much of it is timed.

    Attributes
    ----------
    patients
        Of an epoch; all are in memory.
    size
        Rows and columns of a slice.
    width, blocks
        Of the network; 64 and 6 as published.
    measured
        Patients of the part of our epoch that is timed.
    steps
        Steps of the plain loop that are timed.
    threads
        Of a processor.
    precision
        Of ours, as a protocol has it; the plain loop's is torch's.
    """

    patients: int = 150
    size: int = 320
    width: int = 64
    blocks: int = 6
    measured: int = 8
    steps: int = 4
    threads: int = os.cpu_count() or 1
    precision: Literal["auto", "bf16", "fp32"] = "auto"

    def network(self, **training: Any) -> Network:
        """The protocol's network, with its defaults but for what is given of `training`."""
        return Network.model_validate(
            {
                "name": "benchmark", "endpoint": "mvi_grade", "present": "mvi", "cohort": "train", "size": self.size,
                "combinations": (SEQUENCES,), "width": self.width, "blocks": self.blocks,
                "training": {"precision": self.precision, **training},
            }
        )  # fmt: skip

    @property
    def combinations(self) -> int:
        """Samples of a patient."""
        return int(SLICES ** len(SEQUENCES))


@dataclass(frozen=True)
class Epoch:
    """One way's epoch in a process of its own.

    Attributes
    ----------
    seconds
        Of the whole epoch, scaled from the part that was timed.
    processor_s
        The same of processors, which other programs on the machine hardly change.
    part
        What was timed.
    peak_mib
        Largest memory of the process, or of the GPU.
    flop
        Floating point operations of the whole epoch, forward and backward.
    precision
        In which they are done.
    ceiling
        Floating point operations a second of a large matrix product in that precision on this device.
    round_s
        Of ours: seconds of a deployed round of one epoch. It begins with measuring the losses of those who are trained
        on and of those who validate, who are a third as many: three and one of five folds.
    """

    seconds: float
    processor_s: float
    part: str
    peak_mib: float
    flop: float
    precision: Precision
    ceiling: float
    device: str
    round_s: float | None = None

    @property
    def share(self) -> float:
        """Of the ceiling."""
        return self.flop / self.seconds / self.ceiling


def benchmark_training(load: Workload, repeats: int) -> Benchmark:
    """Time both, in turn.

    Parameters
    ----------
    load
        What is trained.
    repeats
        How often each is timed.
    """
    equal = differences(load)
    done: dict[str, list[Epoch]] = {"ours": [], "plain": []}
    for _ in range(repeats):
        for name, way in (("ours", ours), ("plain", plain)):
            done[name].append(in_own_process(way, load))
    processor = {name: statistics.median(each.processor_s for each in epochs) for name, epochs in done.items()}
    facts = {
        "processor_ratio": processor["plain"] / processor["ours"],
        "workload": asdict(load),
        **{f"difference_of_{name}": value for name, value in equal.items()},
    }
    return Benchmark(
        "training",
        _timed("ours", done["ours"], load, facts),
        (_timed("plain", done["plain"], load, {}),),
        max(equal.values()) <= TOLERANCE,
        ("torch", "numpy"),
    )


def in_own_process(way: Callable[[Workload], Epoch], load: Workload) -> Epoch:
    """So that memory is its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(way, load).result()


def ours(load: Workload) -> Epoch:
    """One epoch by the engine that sites train with."""
    torch.set_num_threads(load.threads)
    network, learners = load.network(), pictures(load)
    weights = to_vector(_built(network))

    def epoch(patients: int) -> None:
        engine.train(network, learners.keep(np.arange(patients)), weights, class_weights=WEIGHTS, seed=b"benchmark",
                     round=0, variate=np.empty(0, dtype=np.float32), local={})  # fmt: skip

    batch = min(network.training.batch, load.measured)
    epoch(batch)
    with FlopCounterMode(display=False) as counter:
        epoch(1)
    begun, scale = (time.perf_counter(), time.process_time()), load.patients / load.measured
    epoch(load.measured)
    seconds, processor = (time.perf_counter() - begun[0]) * scale, (time.process_time() - begun[1]) * scale
    with computing(network.training) as device:
        half, kind = device.half, device.device
    peak = _peak_mib(kind)
    round_s = _round_seconds(network, learners, weights, load) * scale
    precision: Precision = "bfloat16" if half else "float32"
    flop = float(counter.get_total_flops()) * load.patients
    part, ceiling = f"{load.measured} of {load.patients} patients", _ceiling(kind, half=half)
    return Epoch(seconds, processor, part, peak, flop, precision, ceiling, device_name(kind), round_s)


def _round_seconds(network: Network, learners: Learners, weights: NDArray[np.float32], load: Workload) -> float:
    """Of the part that is timed: everything that a site computes for a message of a training."""
    none = np.empty(0, dtype=np.float32)
    task = TrainRound(network.cohort, Job(network.name, SEQUENCES, 0), 0, weights, none, WEIGHTS, "")
    training, validation = (learners.keep(np.arange(count)) for count in (load.measured, math.ceil(load.measured / 3)))
    begun = time.perf_counter()
    round_of(network, task, training, validation, {}, b"benchmark")
    return time.perf_counter() - begun


def plain(load: Workload) -> Epoch:
    """One epoch by the plain loop."""
    torch.set_num_threads(load.threads)
    network, learners = load.network(), pictures(load)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = _as_convolutions(device)
    dataset = Combinations(learners, network.training.augmentation)
    workers = 0 if device.type == "cpu" else min(os.cpu_count() or 1, 8)
    loop = PlainLoop(_built(network), dataset, device, WEIGHTS, network.training.learning_rate, workers)
    scale = len(dataset) / BATCH
    seconds, processor = np.mean(loop.seconds_a_step(load.steps), axis=0) * scale
    with FlopCounterMode(display=False) as counter:
        loop.seconds_a_step(0)
    flop = float(counter.get_total_flops()) * scale
    part = f"{load.steps} of {len(dataset) // BATCH} steps"
    peak, ceiling = _peak_mib(device), _ceiling(device, half=False)
    return Epoch(float(seconds), float(processor), part, peak, flop, precision, ceiling, device_name(device))


def _as_convolutions(device: torch.device) -> Precision:
    """Let matrix products, and so the ceiling, be in what torch's convolutions are in by default: TF32 since Ampere."""
    if device.type != "cuda" or not torch.backends.cudnn.allow_tf32 or torch.cuda.get_device_capability() < (8, 0):
        return "float32"
    torch.set_float32_matmul_precision("high")
    return "tensorfloat32"


def differences(load: Workload) -> dict[str, float]:
    """Relative differences of loss and gradient between the two, where they compute the same.

    Two patients, no augmentation, float32: the mean over 54 samples of the plain loop, and one step of ours. A small
    network on small pictures shows it as well as a large one.
    """
    small = Workload(patients=2, size=min(load.size, 48), width=min(load.width, 16), blocks=min(load.blocks, 2))
    network = small.network(optimiser="sgd", momentum=0.0, weight_decay=0.0, learning_rate=1.0, clip_norm=False,
                            precision="fp32", augmentation=False)  # fmt: skip
    learners, net = pictures(small), _built(network)
    weights = to_vector(net)
    step = engine.train(network, learners, weights, class_weights=WEIGHTS, seed=b"benchmark", round=0,
                        variate=np.empty(0, dtype=np.float32), local={})  # fmt: skip
    mine = engine.loss_sum(network, learners, weights, WEIGHTS, {}) / learners.n
    dataset = Combinations(learners, None)
    images, labels = zip(*(dataset[i] for i in range(len(dataset))), strict=True)
    each = torch.nn.functional.cross_entropy(plain_logits(net, torch.stack(images)), torch.tensor(labels),
                                             reduction="none")  # fmt: skip
    loss = (each * torch.tensor(WEIGHTS)[torch.tensor(labels)]).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    gradient = np.concatenate([p.grad.numpy().ravel() for p in net.parameters() if p.grad is not None])
    return {
        "loss": abs(mine - float(loss.detach())) / abs(mine),
        "gradient": float(np.linalg.norm(step.update + gradient) / np.linalg.norm(gradient)),
    }


def pictures(load: Workload) -> Learners:
    """Patients with noise for pictures."""
    rng, k = np.random.default_rng(1), len(SEQUENCES)
    images = rng.standard_normal((load.patients, k, SLICES, load.size, load.size), dtype=np.float32)
    landmarks = np.linspace(-2, 2, len(LANDMARKS), dtype=np.float32)
    return Learners(
        ids=tuple(f"patient-{i}" for i in range(load.patients)),
        images=images,
        present=np.ones((load.patients, k), dtype=np.bool_),
        labels=np.arange(load.patients, dtype=np.int64) % CLASSES,
        folds=np.zeros(load.patients, dtype=np.int64),
        body=np.broadcast_to(landmarks, (load.patients, k, landmarks.size)).copy(),
        sequences=SEQUENCES,
    )


def device_name(device: torch.device) -> str:
    """As its maker calls it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    about = Path("/proc/cpuinfo")
    names = [line for line in about.read_text().splitlines() if line.startswith("model name")] if about.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.processor()


def _built(network: Network) -> MviNetwork:
    return build(architecture_of(network, SEQUENCES, CLASSES), seed=0)


def _ceiling(device: torch.device, *, half: bool) -> float:
    """Operations a second of the best of several products of large square matrices."""
    n = 8192 if device.type == "cuda" else 2048
    kind = torch.bfloat16 if half else torch.float32
    a, b = (torch.ones((n, n), dtype=kind, device=device) for _ in range(2))
    seconds = []
    for _ in range(8):
        begun = time.perf_counter()
        product = a @ b
        float(product[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - begun)
    return float(2 * n**3 / min(seconds))


def _peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # Not `getrusage`, whose maximum begins with that of the process that started this one.
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peaks = [float(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")]
    return peaks[0] if peaks else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _timed(name: str, done: list[Epoch], load: Workload, facts: Mapping[str, Any]) -> Timed:
    seconds = tuple(each.seconds for each in done)
    median = statistics.median(seconds)
    rounds = [each.round_s for each in done if each.round_s is not None]
    return Timed(
        name,
        seconds,
        {
            "seconds_of": f"an epoch of {load.patients} patients, {load.combinations} samples each",
            "timed": done[0].part,
            "samples_per_s": load.patients * load.combinations / median,
            "patients_per_s": load.patients / median,
            "peak_mib": max(each.peak_mib for each in done),
            "processor_s": statistics.median(each.processor_s for each in done),
            "precision": done[0].precision,
            "flop_per_epoch": done[0].flop,
            "ceiling_gflop_per_s": max(each.ceiling for each in done) / GIGA,
            "share_of_ceiling": statistics.median(each.share for each in done),
            "device": done[0].device,
            **({"round_s": statistics.median(rounds)} if rounds else {}),
            **facts,
        },
    )

"""client/learning: what the network computes on: the GPU where there is one, in which precision, one user at a time."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from common.errors import FedmviError
from common.study.networks import Training

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
"""Without it the matrix products of a GPU may differ from one run to the next; read when CUDA is first used."""
_AMPERE = (8, 0)
_NO_MEMORY = "can't allocate memory"
"""What torch says on a CPU, where it has no error of its own for it."""


@dataclass(frozen=True)
class Device:
    """Where to compute.

    Attributes
    ----------
    device
        Of torch.
    half
        Whether convolutions are computed in bfloat16; weights, losses and steps are float32 either way.
    pixels_at_once
        How many pixels may be in the trunk at a time; each takes about 1 kB in bfloat16 and 2 kB in float32 (width
        64, six blocks), so that a CPU's share is nine slices of 320 x 320 in 1 or 2 GB.
    """

    device: torch.device
    half: bool
    pixels_at_once: int

    def autocast(self) -> torch.autocast:
        """The precision, for the forward pass of the trunk."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    def place(self, net: nn.Module) -> None:
        """Put a network here, channels last, as convolutions of one pixel want it."""
        net.to(device=self.device)  # then, as torch's types know no call with both:
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@contextmanager
def computing(training: Training) -> Iterator[Device]:
    """The device, for as long as the block runs; torch is afterwards as it was.

    Of all processes of one user one at a time computes on a GPU, the others wait: simulated sites share it without
    running out of memory. In deterministic mode the same input gives the same bytes on the same device with the same
    versions and, on a CPU, the same number of threads.

    Raises
    ------
    FedmviError
        392 out of memory.
    """
    gpu = torch.cuda.is_available()
    with ExitStack() as stack:
        if gpu:
            stack.enter_context(_alone())
        stack.enter_context(_flags(training))
        try:
            yield _device(training, gpu)
        except torch.OutOfMemoryError as error:
            raise FedmviError(392, str(error)) from error
        except RuntimeError as error:
            if _NO_MEMORY not in str(error):
                raise
            raise FedmviError(392, str(error)) from error
        finally:
            if gpu:
                torch.cuda.empty_cache()


def _device(training: Training, gpu: bool) -> Device:
    device = torch.device("cuda" if gpu else "cpu")
    half = training.precision == "bf16" or (training.precision == "auto" and _gains(gpu))
    return Device(device, half, (36 if gpu else 9) * 320 * 320)


def _gains(gpu: bool) -> bool:
    """Whether bfloat16 is known to be faster here: GPUs since Ampere, and processors that multiply its matrices (AMX).

    On one processor with AMX the trunk takes two fifths of the time that it takes in float32.
    """
    if gpu:
        return torch.cuda.get_device_capability() >= _AMPERE
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other process of this user computes on the GPU; the lock ends with the process, however it ends."""
    name = f"fedmvi-{os.getuid()}-{torch.cuda.get_device_properties(0).uuid}.lock"
    handle = os.open(Path(tempfile.gettempdir()) / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _flags(training: Training) -> Iterator[None]:
    """Torch's global settings for one training."""
    strict, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    os.environ.setdefault(_CUBLAS, ":4096:8")
    try:
        torch.use_deterministic_algorithms(training.deterministic)
        # Memory that nobody has written to is not read; filling it costs time.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        with torch.backends.cudnn.flags(
            enabled=True,
            benchmark=not training.deterministic,
            deterministic=training.deterministic,
            allow_tf32=training.precision != "fp32",
        ):
            yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(strict, warn_only=warn)

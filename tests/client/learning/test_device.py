"""tests/client/learning: the device is used as the protocol says, and torch is left as it was."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from client.learning import device
from client.learning.device import computing
from common.errors import FedmviError
from common.study.networks import Training


@pytest.mark.parametrize("deterministic", [True, False])
def test_torch_is_afterwards_as_it_was(deterministic: bool) -> None:
    filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError), computing(Training(deterministic=deterministic)):
        assert torch.are_deterministic_algorithms_enabled() is deterministic
        raise ZeroDivisionError
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory is filled  # type: ignore[attr-defined]


def test_precision_is_the_protocols_or_what_the_device_gains_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for amx in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda amx=amx: {"amx_bf16": amx})
        for precision, half in (("auto", amx), ("bf16", True), ("fp32", False)):
            with computing(Training(precision=precision)) as used:  # type: ignore[arg-type]
                assert used.half is half


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
    ids=["gpu", "cpu"],
)
def test_too_little_memory_is_an_error_that_says_what_to_do(error: RuntimeError) -> None:
    with pytest.raises(FedmviError) as raised, computing(Training()):
        raise error
    assert raised.value.number == 392


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), computing(Training()):
        raise RuntimeError("shapes")


def test_one_at_a_time_computes_on_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="GPU-1"))
    entered, leave, second = threading.Event(), threading.Event(), threading.Event()

    def hold() -> None:
        with device._alone():
            entered.set()
            leave.wait(10)

    def follow() -> None:
        with device._alone():
            second.set()

    threads = [threading.Thread(target=hold), threading.Thread(target=follow)]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    assert not second.wait(0.2)
    leave.set()
    assert second.wait(10)
    for thread in threads:
        thread.join()

"""tests/common: work in several processes gives the results of one, in order, without a crowd of threads."""

from __future__ import annotations

import os

import pytest

from common.parallel import as_done, in_processes

THREADS = "OMP_NUM_THREADS"


def test_results_come_in_the_order_of_the_tasks() -> None:
    numbers = list(range(-20, 20))
    assert list(in_processes(abs, numbers, 2)) == [abs(n) for n in numbers]


def test_one_worker_works_in_this_process_and_several_do_not() -> None:
    assert set(in_processes(lambda _: os.getpid(), range(3), 1)) == {os.getpid()}
    assert os.getpid() not in set(in_processes(eval, ["__import__('os').getpid()"] * 3, 2))


def test_no_tasks_give_no_results() -> None:
    assert list(in_processes(abs, [], 4)) == []


def test_each_process_has_one_thread_and_this_one_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(THREADS, "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert list(in_processes(os.getenv, [THREADS, "MKL_NUM_THREADS"], 2)) == ["1", "1"]
    assert os.environ[THREADS] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_an_error_of_a_task_reaches_the_caller_and_threads_are_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(THREADS, "7")
    with pytest.raises(ValueError, match="invalid literal"):
        list(in_processes(int, ["1", "two"], 2))
    assert os.environ[THREADS] == "7"


def end(task: int) -> int:
    """Task 2 ends its process, as the system does when memory runs out."""
    if task == 2:
        os._exit(9)
    return -task


def test_a_process_that_is_ended_costs_its_own_task_only() -> None:
    assert dict(as_done(end, range(5), 2, lambda task: 100 * task)) == {0: 0, 1: -1, 2: 200, 3: -3, 4: -4}


def test_an_error_of_a_task_is_raised_as_it_is() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        dict(as_done(int, ["1", "two"], 2, lambda _: 0))

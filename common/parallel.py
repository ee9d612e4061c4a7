"""common: the same work for many patients, in several processes, with one thread each."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


def in_processes(work: Callable[[Task], Result], tasks: Sequence[Task], workers: int | None = None) -> Iterator[Result]:
    """The results of all tasks, in their order, as they come.

    Parameters
    ----------
    work
        A function of a module; its results must depend on nothing but the task.
    tasks
        What is to be done.
    workers
        Processes; as many as there are processors where None. One works in this process.
    """
    count = min(workers or os.cpu_count() or 1, len(tasks))
    if count <= 1:
        yield from map(work, tasks)
        return
    with _pool(count) as pool:
        with _deaf_to_interrupts():
            results = pool.map(work, tasks)
        yield from results


def as_done(
    work: Callable[[Task], Result], tasks: Sequence[Task], workers: int | None, lost: Callable[[Task], Result]
) -> Iterator[tuple[int, Result]]:
    """The position and result of every task, as they come, also where a process is ended by the system.

    A process that ends, as when memory runs out or a library crashes, takes those beside it along. What they left is
    then done one at a time, and only a task whose process ends again is lost.

    Parameters
    ----------
    work, tasks, workers
        As for `in_processes`; never in this process.
    lost
        The result of a task that cannot be done.
    """
    left = dict(enumerate(tasks))
    for number, result in _until_broken(work, left, workers):
        del left[number]
        yield number, result
    for number, task in left.items():
        again = list(_until_broken(work, {number: task}, 1))
        yield again[0] if again else (number, lost(task))


def _until_broken(
    work: Callable[[Task], Result], tasks: Mapping[int, Task], workers: int | None
) -> Iterator[tuple[int, Result]]:
    if not tasks:
        return
    count = min(workers or os.cpu_count() or 1, len(tasks))
    with _pool(count) as pool:
        with _deaf_to_interrupts():
            futures = {pool.submit(work, task): number for number, task in tasks.items()}
        for future in as_completed(futures):
            try:
                yield futures[future], future.result()
            except BrokenProcessPool:
                return


@contextmanager
def _pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end at once, with what they are at, where this one is interrupted."""
    with one_thread_each(), ProcessPoolExecutor(count, multiprocessing.get_context("spawn")) as pool:
        try:
            yield pool
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.terminate()
            raise


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started in here inherit that Ctrl-C is ignored: the parent decides what it means."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes that share the machine's processors must not each start as many threads as there are of them."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

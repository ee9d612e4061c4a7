"""client/imaging: one thread where a result must be the same every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import SimpleITK as sitk  # noqa: N813


@contextmanager
def one_thread() -> Iterator[None]:
    """Within it SimpleITK uses one thread, also in filters within filters, which no filter's own number reaches.

    Sums in several threads come out otherwise in the last digits, and a search that goes by them goes another way.
    """
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)

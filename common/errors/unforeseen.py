"""common: the number of an error that nobody foresaw; its text may hold patients' data, so only the number is told."""

from __future__ import annotations

import errno

from common.errors import FedmviError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def unforeseen(error: Exception) -> FedmviError:
    """516 for a full disk, which mends by making room; 901 for anything else."""
    full = isinstance(error, OSError) and error.errno in _FULL
    return FedmviError(516 if full else 901)

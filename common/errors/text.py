"""common/errors: what an entry of the catalogue is."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ErrorText:
    """What happened (a format string over the public facts) and what to do, one sentence each."""

    what: str
    do: str

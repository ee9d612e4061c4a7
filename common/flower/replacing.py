"""common/flower: names of Flower for which ours are put in place, because it has no setting for what they do."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from common.errors import FedmviError
from common.flower.environment import FLOWER_VERSION, refuse_other_version


@dataclass(frozen=True)
class PrivateName:
    """A name in a module of Flower, and what it must look like.

    Attributes
    ----------
    module, name
        Where it is looked up when Flower uses it.
    parameters
        Those of the function, in order; None where it is no function.
    """

    module: str
    name: str
    parameters: tuple[str, ...] | None = None

    def is_known(self) -> bool:
        """Whether this Flower has it as we know it."""
        try:
            there = self.get()
            return self.parameters is None or tuple(inspect.signature(there).parameters) == self.parameters
        except (ImportError, AttributeError, TypeError, ValueError):
            return False

    def get(self) -> Any:
        """What Flower finds under this name now."""
        return getattr(self._module(), self.name)

    def put(self, ours: object) -> None:
        """Let Flower find ours under this name from now on, in this process."""
        setattr(self._module(), self.name, ours)

    def _module(self) -> object:
        # Flower re-exports some functions under their module's name, so attributes of a package may mislead.
        importlib.import_module(self.module)
        return sys.modules[self.module]


def refuse_other_flower(names: Iterable[PrivateName]) -> None:
    """Error 721 unless this is the version of Flower that all names are known of."""
    refuse_other_version()
    unknown = [f"{each.module}.{each.name}" for each in names if not each.is_known()]
    if unknown:
        raise FedmviError(721, ", ".join(unknown), found="changed", wanted=FLOWER_VERSION)

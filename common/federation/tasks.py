"""common/federation: tasks: what a site is asked to do and keep; how it does it is in the client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from common.federation.codec import STRICT, pack
from common.federation.query import Receipt, Task
from common.study.correcting import Correction
from common.study.withholding import Withheld


def _tells_of_itself(receipt: Receipt) -> bool:
    return all(isinstance(receipt.get(name), str) for name in ("site", "code", "masks"))


@dataclass(frozen=True)
class Sign(Task):
    """First exchange of an opening: the site checks the study, the rosters and the code, and signs them.

    The study travels as data (its canonical JSON), never as code. The receipt has the site's name, code
    fingerprint, whether it masks, whether its own sums may be told (`alone`: yes or no), and whether it tells results
    of itself alone (`tells`); if it masks, also its public mask key for the study and its signature (see `identity`),
    both in hexadecimal, its patients in each cohort, and the columns of [shift] that it hides (`hides`).
    """

    name: ClassVar[str] = "task.sign"
    # What a site says of itself is checked after it was answered: a wrong receipt must not be kept.
    journaled: ClassVar[bool] = False

    study: str
    code: str

    def plausible(self, receipt: Receipt) -> bool:
        """See `Task`."""
        return _tells_of_itself(receipt)

    def words(self) -> str:
        """See `Task`."""
        return "sign the rosters and this site's mask key for the study"


@dataclass(frozen=True)
class SignedKey:
    """What a site signed, as `Sign` gave it.

    Attributes
    ----------
    key, signature
        Its public mask key for the study, and the signature over everything (see `identity`), in hexadecimal.
    patients
        JSON: its patients in each of its cohorts, rounded down.
    alone
        Whether its own sums may be told: then a study may go on without it.
    tells
        Whether it tells guarded results of itself alone.
    hides
        JSON: by cohort the columns of which it tells nothing even so.
    """

    __pydantic_config__ = STRICT
    site: str
    key: str
    patients: str
    alone: bool
    tells: bool
    hides: str
    signature: str


@dataclass(frozen=True)
class Open(Task):
    """Opens a run: the site checks the study, the rosters, the code and what the others signed, and pins its data.

    Sites that mask refuse to open unless every other site of the run has signed the very rosters that they see. The
    receipt has the site's name, code fingerprint, store digest and library versions.
    """

    name: ClassVar[str] = "task.open"
    # What a site says of itself is checked after it was answered: a wrong receipt must not be kept.
    journaled: ClassVar[bool] = False

    study: str
    code: str
    signed: tuple[SignedKey, ...] = ()

    def plausible(self, receipt: Receipt) -> bool:
        """See `Task`."""
        return _tells_of_itself(receipt)

    def words(self) -> str:
        """See `Task`."""
        return "open the run: check study, rosters, signatures and code, pin the prepared data"


@dataclass(frozen=True)
class Freeze(Task):
    """Freezes what may be looked at in closed cohorts: models by the recipe that ends in their score, and comparisons.

    Until it is done, frames of external-test, outcome and genomics cohorts have no endpoints; afterwards they
    have them only beside these scores or groups. It can be done once in a run. In a study with recalibrations it opens
    the calibration cohorts alone, and `FreezeCorrections` the others.

    Attributes
    ----------
    remedy
        The model of [shift] that was chosen in training, without any outcome of another cohort; "" for none.
    withheld
        Harmonised models, each with a hospital that lets it score none of its patients outside of training, because
        they may have the outcome more or less often.
    networks
        The network that each choice of networks took, in the order of the study; as `remedy`.
    """

    name: ClassVar[str] = "task.freeze"

    scores: tuple[str, ...]
    comparisons: tuple[str, ...]
    remedy: str = ""
    withheld: tuple[Withheld, ...] = ()
    networks: tuple[str, ...] = ()

    def plausible(self, receipt: Receipt) -> bool:
        """See `Task`: this manifest is frozen, and not for the first time in less than one run."""
        openings = receipt.get("openings")
        return receipt.get("frozen") == pack(self, Freeze).digest and isinstance(openings, int) and openings > 0

    def words(self) -> str:
        """See `Task`."""
        named = f"; of the models of [shift] '{self.remedy}' was chosen" if self.remedy else ""
        kept = ", ".join(f"'{one.model}' at {one.site}" for one in self.withheld)
        named += f"; of the networks {', '.join(self.networks)} was chosen" if self.networks else ""
        named += f"; harmonised features are withheld: {kept}" if kept else ""
        return f"freeze {len(self.scores)} model(s) and {len(self.comparisons)} comparison(s){named}"


@dataclass(frozen=True)
class FreezeCorrections(Task):
    """Freezes corrected scores beside those that were frozen, none of which is taken away, and opens all cohorts.

    It can be done once in a run, after the models are frozen, of a study that declares recalibrations.

    Attributes
    ----------
    frozen
        Digest of the manifest that it adds to, see `Freeze`.
    corrections
        In the order of the study; of recalibrations that could be made.
    """

    name: ClassVar[str] = "task.freeze_corrections"

    frozen: str
    corrections: tuple[Correction, ...]

    def plausible(self, receipt: Receipt) -> bool:
        """See `Task`: these corrections are frozen."""
        return receipt.get("frozen") == pack(self, FreezeCorrections).digest

    def words(self) -> str:
        """See `Task`."""
        return f"freeze {len(self.corrections)} corrected model(s) beside those that were frozen"

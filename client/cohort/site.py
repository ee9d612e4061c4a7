"""client/cohort: `site.toml`, the one file in which a hospital describes its tables and its policy."""

from __future__ import annotations

import contextlib
import fcntl
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from common.deployment.owner import refuse_root
from common.errors import FedmviError
from common.files import make_private
from common.study.declarations import SiteName, as_tuples, toml_problems
from common.study.dictionary import Name

ENROLMENT = "enrolment"
"""The folder, in a site's, of the keys with which its node is known at a hub."""
Risk = Literal["SUM", "CELLS", "RANK", "PROFILE", "MODEL"]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class SiteHead(_Table):
    """`[site]`: who the site is."""

    name: SiteName = Field(description="The site's name in the consortium, as studies write it.")
    simulated: bool = Field(default=False, description="True for a made-up or imported site.")


class Tables(_Table):
    """`[tables]`: where the tables are and how they are written."""

    patients: str = Field(default="patients.csv", description="Path of the patient table, from the site's folder.")
    encoding: str = Field(default="utf-8", description="Text encoding of the tables.")
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = Field(default=",", description="Cell separator.")
    missing: tuple[str, ...] = Field(default=("", "NA"), description="Cells that mean missing; case matters.")
    expression: str = Field(
        default="expression.csv",
        description="Path of the table of gene expression, for studies that compare it: a row a gene, a column a "
        "patient, as .csv, .tsv, .txt (tabs), any of these with .gz behind it, .parquet or .h5ad.",
    )


class Images(_Table):
    """`[images]`: where the images and masks are."""

    images: str = Field(
        default="images", description="Folder of <patient>/<phase>.nii.gz or <patient>/<phase>/*.dcm, from this folder."
    )
    masks: str = Field(default="masks", description="Folder of <patient>/[<phase>.]<region>[.reader2].nii.gz or .dcm.")
    manifest: str = Field(
        default="manifest.csv",
        description="Table that names every file instead, as `fedmvi-site discover` writes it; used if it is there.",
    )


class ColumnMap(_Table):
    """An entry of `[columns]`: how one column of the study is found in the hospital's export."""

    header: str | None = Field(default=None, description="The hospital's header for it.")
    unit: str | None = Field(default=None, description="The unit in which the column is recorded.")
    codes: dict[str, str] = Field(default_factory=dict, description="The hospital's cell -> the study's word.")
    start: str | None = Field(default=None, description="Header of a date; the column is the days from it to `end`.")
    end: str | None = Field(default=None, description="Header of the later date. Dates never leave the site.")

    @model_validator(mode="after")
    def _coherent(self) -> ColumnMap:
        if (self.start is None) != (self.end is None):
            raise ValueError("`start` and `end` go together")
        if self.start is not None and self.header is not None:
            raise ValueError("a column is read from `header`, or computed from `start` and `end`")
        return self


class Policy(_Table):
    """`[policy]`: what this hospital allows; the stricter of study and policy applies."""

    approved_studies: tuple[str, ...] = Field(
        default=(), description='Fingerprints of approved studies; ["any"] only for simulated sites.'
    )
    risks: tuple[Risk, ...] = Field(
        default=("SUM", "CELLS", "RANK", "PROFILE", "MODEL"), description="Risk classes of queries that are answered."
    )
    refused_queries: tuple[str, ...] = Field(default=(), description="Query names that are never answered.")
    min_patients: int = Field(default=20, ge=5, description="Fewest patients of a cohort here.")
    min_class: int = Field(default=5, ge=3, description="Fewest patients in each class of an endpoint here.")
    min_cell: int = Field(default=5, ge=3, description="Smallest count that may be shown for this site alone.")
    min_sites: int = Field(default=3, ge=3, description="Fewest sites in a sum.")
    max_parameters: float = Field(default=0.33, gt=0, le=0.33, description="Most parameters, as a share of patients.")
    release_alone: bool = Field(default=False, description="Whether guarded results of this site alone may leave.")
    may_be_left_out: bool = Field(
        default=False,
        description="Whether a study may go on without this site when it stays away, or develop its models without "
        "each site in turn where it says so. Who has the sums with it and those without it has the exact part of this "
        "site in them, which is more than guarded results.",
    )
    masks: Literal["required", "off"] = Field(
        default="required",
        description="Parts of sums leave only under masks that cancel in the sum; `off` shows them to the coordinator.",
    )
    allow_differences: tuple[str, ...] = Field(
        default=(),
        description="Earlier runs whose patients or sites may differ by few from a later run's: their part of the sums "
        "can then be had by subtraction.",
    )
    max_rounds: int = Field(
        default=500,
        ge=0,
        description="Most rounds that one training of a network may take; 0: nothing is trained, nor measured.",
    )
    max_update_bytes: int = Field(
        default=1_000_000_000_000,
        ge=0,
        description="Most bytes of changes of networks' weights that may leave for one study, in all its runs, as the "
        "ledger counts them: 4 a weight and round, 8 under masks.",
    )
    max_questions: int = Field(
        default=100_000,
        ge=0,
        description="Most answers that one study is given, in all its runs, as the ledger counts them; one repeated "
        "word for word counts once. It is what bounds a study's rounds: each has an answer or more.",
    )
    private_epsilon: float | None = Field(
        default=None,
        gt=0,
        description="The largest epsilon that a training of a network may spend here, as in `private_epsilon = 3.0`. "
        "Networks that declare a larger one, or no [networks.privacy], are not trained here. Each training counts by "
        "itself; what several spend adds up. Not set: private training is not demanded.",
    )
    pooled_detail: Literal["exact", "binned"] = Field(default="exact", description="`binned` refuses rank queries.")

    @property
    def tells(self) -> bool:
        """Whether this site tells results of itself alone, and none of them is refused by its kind."""
        return self.release_alone and {"PROFILE", "CELLS"} <= set(self.risks) and not self.refused_queries


class Node(_Table):
    """`[node]`: the program that answers for this site, `fedmvi-site start`."""

    installations: tuple[str, ...] = Field(
        default=(),
        description="Python programs of other installed versions, such as /opt/fedmvi-0.2/bin/python: studies that "
        "run with those versions are answered by them.",
    )
    log_format: Literal["text", "json"] = Field(default="text", description="How the node writes its log.")


class Site(_Table):
    """A validated `site.toml` and the folder it describes."""

    site: SiteHead
    tables: Tables = Tables()
    images: Images = Images()
    columns: dict[Name, ColumnMap] = Field(default_factory=dict)
    policy: Policy = Policy()
    node: Node = Node()
    folder: Path = Field(default=Path(), exclude=True)

    @property
    def name(self) -> str:
        """The site's name."""
        return self.site.name

    @property
    def store(self) -> Path:
        """Where prepared tables, runs, the ledger and released bytes are kept."""
        return self.folder / "store"

    @property
    def secret_file(self) -> Path:
        """The site's own secret, the root of all its random draws; it never leaves."""
        return self.folder / "site.secret"

    @model_validator(mode="after")
    def _coherent(self) -> Site:
        if "any" in self.policy.approved_studies and not self.site.simulated:
            raise ValueError('`approved_studies = ["any"]` is for simulated sites only')
        return self


@contextlib.contextmanager
def alone(site: Site) -> Iterator[None]:
    """One message at a time: two at once could each give an answer before the other's is recorded."""
    make_private(site.store)
    with (site.store / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def deciding(site: Site) -> Iterator[None]:
    """One change of `site.toml` at a time. A message that is being answered does not stand in its way."""
    make_private(site.store)
    with (site.store / ".deciding.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def refuse_root_at(site: Site) -> None:
    """Error 728 for root at a site that has been enrolled and is another user's, as whom its node runs."""
    if (site.folder / ENROLMENT).exists():
        refuse_root(site.folder)


def load_site(folder: Path) -> Site:
    """Read `folder/site.toml`.

    Raises
    ------
    FedmviError
        201 no such folder or file, 202 not TOML, 203 with every problem in `local`.
    """
    path = folder / "site.toml"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FedmviError(201, str(path)) from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FedmviError(202, f"{path}: {error}") from error
    if "folder" in data:
        raise FedmviError(203, f"{path}: unknown table 'folder'", count=1)
    try:
        return Site.model_validate({**as_tuples(data), "folder": folder.resolve()})
    except ValidationError as error:
        problems = toml_problems(error, text, Site)
        raise FedmviError(203, f"{path}: " + "; ".join(problems), count=len(problems)) from error

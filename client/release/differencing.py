"""client/release: the differencing ledger: whose sums left in earlier runs, so that no two of them differ by a few.

Two sums over nearly the same patients, or the same patients of nearly the same sites, give the sum over those who are
in one of them only: subtract one from the other (Denning et al., ACM TODS 1979;4:76, call the second question a
tracker). So a total that another run was told already is told again over the very same patients and sites, or over
clearly other ones, and over nothing between. Compared are runs of one study by their cohorts, whatever they ask, and
runs of all studies by statistic.

What runs were told is kept (`told`) with the sets of patients as keyed hashes: who has the files and not `site.secret`
learns no patient from them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.cohort.membership import patient_keys, site_secret
from client.cohort.site import Policy, Site
from client.release.rosters import Rosters, covers, signed, told_apart
from client.release.scope import columns_of
from client.release.told import Told
from common.errors import FedmviError
from common.federation.codec import pack
from common.federation.envelope import Ticket
from common.federation.query import Query
from common.statistics.site_profile import SiteProfile
from common.study.centres import left_out
from common.study.fingerprint import canonical_json, digest
from common.study.protocol import Limits
from common.study.recipe import Group
from common.study.table import SiteTable

_SHOWN_DIGITS = 12


@dataclass(frozen=True)
class Patients:
    """A set of patients, and what was known of them.

    Attributes
    ----------
    marks
        (n, 2) uint64, sorted: the patient's key (see `patient_keys`), and a keyed hash of the patient's row, which is
        another one once anything in the row was corrected.
    """

    marks: NDArray[np.uint64]

    @property
    def n(self) -> int:
        """Number of patients."""
        return len(self.marks)

    @property
    def content(self) -> bytes:
        """The bytes in which the set is kept."""
        return np.ascontiguousarray(self.marks, dtype="<u8").tobytes()

    @property
    def digest(self) -> str:
        """Names the set."""
        return digest(self.content)

    @classmethod
    def read(cls, content: bytes) -> Patients:
        """The inverse of `content`."""
        return cls(np.frombuffer(content, dtype="<u8").astype(np.uint64).reshape(-1, 2))

    def difference(self, other: Patients) -> int:
        """How many patients two sums tell apart: those of one set only, and those whose row was corrected.

        Zero also where the sets have nobody in common, whose difference hides everybody, and where all rows are
        others: then the tables are of two studies, and cannot be compared row by row.
        """
        common, ours, theirs = np.intersect1d(self.marks[:, 0], other.marks[:, 0], True, True)
        if not common.size:
            return 0
        changed = int(np.count_nonzero(self.marks[ours, 1] != other.marks[theirs, 1]))
        return self.n + other.n - 2 * common.size + (changed if changed < common.size else 0)

    def same_people(self, other: Patients) -> bool:
        """Whether they are the same patients, whatever is known of them."""
        return np.array_equal(self.marks[:, 0], other.marks[:, 0])

    def overlaps(self, other: Patients) -> bool:
        """Whether they have anybody in common."""
        return bool(np.isin(self.marks[:, 0], other.marks[:, 0]).any())


class Register:
    """All patients of a site's table, of which sets are taken by their keys.

    Parameters
    ----------
    stacks
        By patient what names his ROI stacks, which are part of his row where networks see them.
    """

    def __init__(self, site: Site, table: SiteTable, stacks: Mapping[str, str] | None = None) -> None:
        keys = patient_keys(site, table)
        marks = np.column_stack([keys, _row_hashes(site, table, stacks or {})])
        self._marks = marks[np.argsort(keys)]

    def of(self, keys: NDArray[np.uint64]) -> Patients:
        """The set of the patients with these keys."""
        return Patients(self._marks[np.isin(self._marks[:, 0], keys)])

    @property
    def all(self) -> Patients:
        """Everybody."""
        return Patients(self._marks)


def _row_hashes(site: Site, table: SiteTable, stacks: Mapping[str, str]) -> NDArray[np.uint64]:
    """(n,) a keyed hash of everything that the table says of a patient, and of his stacks."""
    columns = [table.columns[name] for name in sorted(table.columns)]
    values = [array for column in columns for array in (column.values, column.censored.astype(np.float64))]
    values += [table.second[name].values for name in sorted(table.second)]
    values += [table.endpoints[name] for name in sorted(table.endpoints)]
    values += [table.failed[name].astype(np.float64) for name in sorted(table.failed)]
    if table.expression is not None:
        values += [table.expression.library, table.expression.values]
    rows = np.column_stack([np.zeros(table.n), *values])
    rows = np.where(np.isnan(rows), np.nan, rows + 0.0)  # one NaN and one zero, so that equal rows have equal bytes
    secret = site_secret(site)
    hashes = [
        hmac.digest(
            secret,
            f"row|{patient}|{label}|".encode() + row.tobytes() + stacks.get(patient, "").encode(),
            hashlib.sha256,
        )[:8]
        for patient, label, row in zip(table.patients, table.labels, rows, strict=True)
    ]
    return np.frombuffer(b"".join(hashes), dtype="<u8").astype(np.uint64)


def statistic_key(query: Query) -> str:
    """Names what a query computes, without what a server may vary at will: numbers, recipe, cohort, words.

    Left are the kind of query, the columns that enter, the endpoint and the grouping.
    """
    groups = sorted(step.by for step in query.recipe.steps if isinstance(step, Group))
    endpoint = getattr(query, "endpoint", "") or query.classes_of
    return digest(canonical_json([query.name, sorted(set(columns_of(query))), endpoint, groups]))


def variable_of(column: str) -> str:
    """What a column was made of, by its name: afp of `afp>20`, `log(afp)` and `afp` (`columns_of` names them)."""
    inside = re.fullmatch(r"(?:log|asinh)\((.*)\)", column)
    return re.split(r"[>=]", inside[1] if inside else column)[0]


class Differencing:
    """Compares the totals of one run with those of all earlier runs at this site.

    Parameters
    ----------
    limits
        `min_patients` and `min_sites` in force: fewer must not be told apart.
    alone
        The other sites that have signed that they may be left out; None where nothing is masked. See `rosters`.
    """

    def __init__(self, site: Site, ticket: Ticket, limits: Limits, alone: Collection[str] | None) -> None:
        self._told = Told(site.store, ticket.run_id)
        self._policy: Policy = site.policy
        self._ticket, self._run_id, self._limits, self._alone = ticket, ticket.run_id, limits, alone
        self._rosters = Rosters(site, ticket, alone, limits.min_sites)
        self._sets: dict[str, Patients] = {}
        self._cohorts: set[tuple[str, str]] = set()

    def admit(self, query: Query, counted: Sequence[Patients], cohort: Patients) -> None:
        """Let a total over these patients of a cohort here leave, after `write` has put on disk that it may.

        Nothing is refused that the same run was told. Of a run that the hospital has listed in `allow_differences`
        patients may be told apart, who are its own.

        Raises
        ------
        FedmviError
            420 few patients, or 421 few sites, would be told apart; `local` names the earlier run. 422 the record is
            damaged.
        """
        # A sum without a site is one over the others, as if that one had stayed away.
        without = left_out(query.recipe)
        roster = tuple(site for site in self._ticket.roster(query.cohort) if site != without)
        if (query.cohort, without) not in self._cohorts:
            self._rosters.admit(query.cohort, without)
            # Within a study a server may choose among many statistics, so that none would have to be asked twice.
            key = digest(canonical_json(["cohort", self._ticket.study, query.cohort]))
            self._admit(key, f"cohort {query.cohort} of this study", query.cohort, roster, (cohort,))
            self._cohorts.add((query.cohort, without))
        key = statistic_key(query)
        self._admit(key, f"{query.name} (statistic {key[:_SHOWN_DIGITS]})", query.cohort, roster, counted)

    def admit_alone(self, query: Query, counted: Sequence[Patients], framed: Patients | None = None) -> None:
        """Let leave what this site tells of itself; as `admit`, of patients only: no other site is in it.

        Parameters
        ----------
        framed
            Of a profile, those whom its recipe leaves: its sums are of them and not of the whole cohort.

        Raises
        ------
        FedmviError
            Those of `admit`; 437 another run, of this study or by the same columns, was told the sums of the same
            patients with other numbers: sums that are cut and counted in another place tell, with the earlier ones, the
            patients in between.
        """
        if query.adds_up and self._alone is not None:
            # Taken from the sums of another run it leaves those of the sites that this run lacks.
            self._rosters.admit(query.cohort)
        if isinstance(query, SiteProfile) and framed is not None:
            self._admit_profile(query, framed)
        profile = isinstance(query, SiteProfile)
        # Questions that tell nearly the same have other names, and a profile may be one of other columns.
        self._admit_alone(["study", self._ticket.study, query.cohort], query.cohort, "", "results", counted)
        what = [query.name, self._ticket.study, query.cohort] if profile else [statistic_key(query)]
        asked = pack(query, type(query)).digest if profile else ""
        self._admit_alone(what, query.cohort, asked, query.name, counted)

    def admit_expressed(self, cohort: str, patients: Patients) -> None:
        """Let leave what is told of the genes of these patients of a cohort, unless few of them are new or missing.

        Comparisons are of patients whose score, group and covariates are known: of two in one run that differ by one
        patient, all genes of that patient would be the difference. Here no run is exempt but those that the hospital
        lists.

        Raises
        ------
        FedmviError
            420 patients fewer than a cell, or since an earlier run fewer than `min_patients`, would be told apart.
        """
        key = digest(canonical_json(["expression", self._ticket.study, cohort]))
        told = self._told.of(key)
        if any(earlier["patients"] == [patients.digest] for earlier in told):
            return
        for earlier in told:
            own = earlier["run"] == self._run_id
            apart = patients.difference(self._before(earlier)[0])
            if 0 < apart < (self._limits.min_cell if own else self._limits.min_patients) and (
                own or earlier["run"] not in self._policy.allow_differences
            ):
                local = f"gene expression: {apart} patient(s) apart from what run {earlier['run']} was told"
                raise FedmviError(420, local, cohort=cohort, limit=self._limits.min_patients)
        entry = {**signed(self._ticket, (), self._alone), "patients": [patients.digest]}
        self._told.add(key, entry, {patients.digest: patients.content})

    def _admit_alone(
        self, what: Sequence[str], cohort: str, asked: str, title: str, counted: Sequence[Patients]
    ) -> None:
        key = digest(canonical_json(["alone", *what]))
        told, run = self._told.of(key), signed(self._ticket, (), self._alone)
        entry = {**run, "patients": [one.digest for one in counted], "asked": asked}
        same = [earlier for earlier in told if earlier["patients"] == entry["patients"]]
        if any(earlier["asked"] != asked and self._another(earlier["run"]) for earlier in same):
            raise FedmviError(437, f"run {same[0]['run']}", cohort=cohort)
        if any(earlier["asked"] == asked for earlier in same):
            return
        for earlier in told:
            if earlier["run"] != self._run_id:
                self._compare_patients(f"{title} of this site alone", cohort, earlier, counted)
        self._told.add(key, entry, {one.digest: one.content for one in counted})

    def _admit_profile(self, query: SiteProfile, framed: Patients) -> None:
        """Hold a profile against those of other runs, of whatever study, that have a variable in common with it.

        Another study may compare hospitals by the same columns, as after a look before anything was trained: the same
        sums are told again there, and none of a few patients more or less, whose rows would be the difference; nor
        histograms of the same patients that are cut a little beside them. Scores may be others.
        """
        key = digest(canonical_json(["alone", "profiles", query.cohort]))
        parts = zip(query.columns, query.centre.tolist(), query.scale.tolist(), strict=True)
        cut = {column: [centre, scale] for column, centre, scale in parts}
        told = self._told.of(key)
        entry = {**signed(self._ticket, (), self._alone), "patients": [framed.digest], "cut": cut}
        for earlier in (one for one in told if self._another(one["run"])):
            shared = {variable_of(column) for column in cut} & {variable_of(column) for column in earlier["cut"]}
            if not shared:
                continue
            self._compare_patients(f"{query.name} of this site alone", query.cohort, earlier, (framed,))
            mine, theirs = ({c: at for c, at in of.items() if variable_of(c) in shared} for of in (cut, earlier["cut"]))
            if mine != theirs and framed.same_people(self._before(earlier)[0]):
                raise FedmviError(437, f"run {earlier['run']}", cohort=query.cohort)
        if not any((one["run"], one["patients"], one["cut"]) == (entry["run"], entry["patients"], cut) for one in told):
            self._told.add(key, entry, {framed.digest: framed.content})

    def _another(self, run: str) -> bool:
        """Whether it is another run, whose patients the hospital does not allow to be told apart from this one's."""
        return run != self._run_id and run not in self._policy.allow_differences

    def write(self) -> None:
        """Put on disk what was let leave; before that nothing of it must."""
        self._told.write()

    def _admit(self, key: str, what: str, cohort: str, roster: tuple[str, ...], counted: Sequence[Patients]) -> None:
        told = self._told.of(key)
        run = signed(self._ticket, roster, self._alone)
        entry = {**run, "patients": [one.digest for one in counted]}
        if any(covers(earlier, entry) for earlier in told):
            return
        # The same patients of the same sites are the same sum, whatever else another run was told.
        again = any((e["roster"], e["patients"]) == (entry["roster"], entry["patients"]) for e in told)
        for earlier in told:
            if earlier["run"] != self._run_id:
                if not again:
                    self._compare_patients(what, cohort, earlier, counted)
                self._compare_sites(what, cohort, earlier, entry, counted)
        self._told.add(key, entry, {one.digest: one.content for one in counted})

    def _compare_patients(self, what: str, cohort: str, earlier: dict[str, Any], counted: Sequence[Patients]) -> None:
        run = earlier["run"]
        apart = [new.difference(old) for new, old in zip(counted, self._before(earlier), strict=False)]
        if run not in self._policy.allow_differences and any(0 < few < self._limits.min_patients for few in apart):
            few = min(few for few in apart if few)
            local = f"{what}: {few} patient(s) were added, removed or corrected since run {run}"
            raise FedmviError(420, local, cohort=cohort, limit=self._limits.min_patients)

    def _compare_sites(
        self, what: str, cohort: str, earlier: dict[str, Any], entry: dict[str, Any], counted: Sequence[Patients]
    ) -> None:
        before = self._before(earlier)
        # A few patients who changed as well do not hide a site.
        same = counted[0].difference(before[0]) < self._limits.min_patients and counted[0].overlaps(before[0])
        others = set(earlier["roster"]) ^ set(entry["roster"])
        if same and len(others) < self._limits.min_sites and told_apart(earlier, entry, self._policy):
            local = f"{what}: the sites differ from those of run {earlier['run']} by {', '.join(sorted(others))}"
            raise FedmviError(421, local, cohort=cohort, limit=self._limits.min_sites)

    def _before(self, earlier: dict[str, Any]) -> list[Patients]:
        return [self._patients(name) for name in earlier["patients"]]

    def _patients(self, name: str) -> Patients:
        if name not in self._sets:
            self._sets[name] = Patients.read(self._told.content(name))
        return self._sets[name]

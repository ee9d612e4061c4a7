"""client: what a site remembers of a run: the study as it was opened, the pinned data, and what was frozen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from client.cohort.limits import under_limits
from client.cohort.site import Site
from client.cohort.store import load_prepared, store_digest
from client.release.claims import claim_of, cohort_sizes, columns_hidden, hidden_columns
from client.release.keys import Consent, peers, peers_digest, signature_of, verified
from common.errors import FedmviError
from common.federation.codec import from_bytes, pack, to_bytes, unpack
from common.federation.envelope import Ticket
from common.federation.query import Receipt
from common.federation.tasks import Freeze, FreezeCorrections, Open, Sign, SignedKey
from common.files import make_private, write_whole
from common.study.centres import remedies
from common.study.comparing import frozen_names
from common.study.contradictions import contradictions
from common.study.correcting import admissible, declared_recalibration
from common.study.declarations import as_tuples
from common.study.dividing import subgroup_scores
from common.study.fingerprint import canonical_json, code_fingerprint, digest, library_versions, study_fingerprint
from common.study.loader import refuse_late_knowledge
from common.study.protocol import Study
from common.study.recipe import Recipe, Score
from common.study.scores import most_frozen, network_choices
from common.study.taking_part import taking_part
from common.study.withholding import may_be_withheld


@dataclass(frozen=True)
class OpenRun:
    """A run as this site opened it.

    Attributes
    ----------
    study, rosters
        As sent and checked at opening.
    store
        Digest of the prepared data at opening; other data are refused later.
    frozen, corrections
        What may be looked at in closed cohorts, and what was added to it; None until then.
    masks
        Whether parts of sums leave under masks.
    keys, patients
        The other sites' mask keys, and their patients in each cohort, by name, as signed; empty where nothing is
        masked.
    alone
        Those of the other sites whose own sums may be told, as signed.
    tells
        The sites that tell results of themselves alone, as signed; this one may be among them.
    hides
        By site, this one among them, the columns that it hides, as signed; empty where nothing is masked.
    own
        Whether this site's own sums may be told, as it signed.
    """

    folder: Path
    study: Study
    rosters: dict[str, tuple[str, ...]]
    store: str
    frozen: Freeze | None
    masks: bool
    keys: Mapping[str, str] = field(default_factory=dict)
    patients: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    alone: tuple[str, ...] = ()
    tells: tuple[str, ...] = ()
    hides: Mapping[str, str] = field(default_factory=dict)
    corrections: FreezeCorrections | None = None
    own: bool = False

    def consents(self, name: str) -> dict[str, Consent]:
        """By site, this one by its name among them, what it consented to."""
        alone = {*self.alone, *([name] if self.own else [])}
        return {site: Consent(site in alone, site in self.tells, hides) for site, hides in self.hides.items()}

    def is_frozen(self, scoring: Recipe) -> bool:
        """Whether the recipe up to a score or cut-off is frozen; one that ends in a corrected score with the
        corrections only, of which the site itself has seen what they correct."""
        last = scoring.steps[-1]
        if isinstance(last, Score) and declared_recalibration(self.study, last.model) is not None:
            added = self.corrections.corrections if self.corrections is not None else ()
            return any(one.corrected.digest == scoring.digest for one in added)
        return self.frozen is not None and scoring.digest in self.frozen.scores

    def opened(self, cohort: str) -> Freeze | None:
        """What may be looked at in a closed cohort; None until all is frozen that must be before it is.

        A calibration cohort opens with the models; where these are corrected in it, the others open with the
        corrections.
        """
        waits = bool(self.study.recalibrations) and self.study.cohort(cohort).role != "calibration"
        return None if waits and self.corrections is None else self.frozen

    def elsewhere(self, cohort: str, without: str = "") -> int:
        """Patients that the other sites of a cohort have signed for, but for one that is left out of the sum; 0 where
        sums are not masked, and so our own."""
        others = (sizes for site, sizes in self.patients.items() if site != without)
        return sum(sizes.get(cohort, 0) for sizes in others) if self.masks else 0


CORRECTED = "corrected.npz"
"""Of a run: what was frozen in addition to its models."""


def run_folder(site: Site, run_id: str) -> Path:
    """Where the site keeps a run."""
    return site.store / "runs" / run_id


@lru_cache(maxsize=2)
def read_study(text: str, fingerprint: str) -> Study:
    """Validate a study that came over the wire; error 411 unless it is sound and has the claimed fingerprint.

    Of thousands of features that takes a second; in a process that answers several messages it is done once.
    """
    try:
        study = Study.model_validate(as_tuples(json.loads(text)))
    except (ValueError, RecursionError) as error:
        raise FedmviError(411, str(error)) from error
    if contradictions(study) or study_fingerprint(study) != fingerprint:
        raise FedmviError(411)
    refuse_late_knowledge(study)
    return study


def refuse_unapproved(site: Site, fingerprint: str) -> None:
    """Error 401 unless the hospital approves the study now, whatever it did when the run was opened."""
    if fingerprint not in site.policy.approved_studies and "any" not in site.policy.approved_studies:
        raise FedmviError(401)


def _secret_digest(site: Site) -> str:
    """Names the site's secret without telling it: another one would draw other patients into the cohorts."""
    try:
        return digest(site.secret_file.read_bytes())
    except OSError:
        return ""


def _checked(site: Site, ticket: Ticket, task: Sign | Open) -> Study:
    """The study of an opening whose study, code and rosters are what they claim; errors 401, 411, 412, 502."""
    study = read_study(task.study, ticket.study)
    refuse_unapproved(site, ticket.study)
    if task.code != code_fingerprint():
        raise FedmviError(502)
    if site.name not in ticket.roster(""):
        raise FedmviError(412)
    try:
        left = taking_part(study, set(study.sites()) - set(ticket.roster("")))
    except FedmviError as error:
        raise FedmviError(412, str(error)) from error
    if dict(ticket.rosters) != {cohort.name: tuple(sorted(cohort.sites)) for cohort in left.cohorts}:
        raise FedmviError(412)
    return study


def sign_run(site: Site, ticket: Ticket, task: Sign) -> Receipt:
    """Check the study and the rosters of a run that is to be opened, and sign them, if this site masks.

    Nothing is kept: the same run gets the same signature again.

    Raises
    ------
    FedmviError
        401 not approved, 411 another study, 412 other rosters, 502 other code, 322 no site.secret, 212 not prepared.
    """
    study = _checked(site, ticket, task)
    receipt: Receipt = {
        "site": site.name,
        "code": task.code,
        "masks": site.policy.masks,
        "alone": "yes" if site.policy.may_be_left_out else "no",
        "tells": "yes" if site.policy.tells else "no",
    }
    if site.policy.masks == "required":
        claim = claim_of(site, ticket.study, study)
        receipt |= {"mask_key": claim.mask_key, "patients": claim.patients, "hides": claim.hides}
        receipt["signature"] = signature_of(site, ticket, claim)
    return receipt


def open_run(site: Site, ticket: Ticket, task: Open) -> Receipt:
    """Open a run, or confirm that it is open with the very same study, rosters, keys and data.

    Raises
    ------
    FedmviError
        401 not approved, 411 another study, 412 other rosters, 417 a site that is not trusted, 419 one that has not
        signed, 502 other code, 212 not prepared, 410 open with other data, 430 a consent taken back.
    """
    study = _checked(site, ticket, task)
    masks = site.policy.masks == "required"
    seen = peers_digest(site) if masks else ""  # before they are read: what changes meanwhile is read again
    entries = verified(site, ticket, task.signed) if masks else {}
    keys = {name: entry.key for name, entry in entries.items()}
    store = store_digest(site, study)
    trusted = peers(site) if masks else {}
    record: dict[str, Any] = {
        "study": task.study,
        "fingerprint": ticket.study,
        "rosters": dict(ticket.rosters),
        "store": store,
        "code": task.code,
        "secret": _secret_digest(site),
        "masks": site.policy.masks,
        "keys": keys,
        "patients": {name: cohort_sizes(name, entry.patients) for name, entry in entries.items()},
        "alone": tuple(sorted(name for name, entry in entries.items() if entry.alone)),
        "own": masks and site.policy.may_be_left_out,
        "tells": tuple(sorted(_telling(site, entries))) if masks else (),
        "hides": _hiding(site, study, entries) if masks else {},
        "identities": {name: trusted[name].hex() for name in keys},
        "peers": seen,
    }
    folder = run_folder(site, ticket.run_id)
    path = folder / "open.npz"
    if path.exists():
        earlier = unpack(from_bytes(path.read_bytes()), dict)
        if earlier["code"] != task.code:
            raise FedmviError(502)
        _refuse_other_masks(site, earlier)
        # Who has once signed that it must not be left out is held to that, whatever is signed afterwards.
        consent = {
            "peers": record["peers"],  # of hospitals that are not in this run there may be others now
            "alone": tuple(name for name in earlier["alone"] if name in record["alone"]),
            "own": earlier["own"],
            "tells": tuple(name for name in earlier["tells"] if name in record["tells"]),
        }
        _refuse_consent_taken_back(site, earlier)
        if earlier | consent != record | consent:
            raise FedmviError(410)
        if earlier | consent != earlier:
            write_whole(path, to_bytes(pack(record | consent)))
    else:
        make_private(folder)
        write_whole(path, to_bytes(pack(record)))
    hints = under_limits(site, load_prepared(site, study), study)
    left_out = sorted(set(study.sites()) - set(ticket.roster("")))
    return {
        **({"without": ", ".join(left_out)} if left_out else {}),
        "site": site.name,
        "code": task.code,
        "store": store,
        "masks": site.policy.masks,
        "alone": "yes" if site.policy.may_be_left_out else "no",
        "tells": "yes" if site.policy.tells else "no",
        "under_limits": canonical_json([hint.public() for hint in hints]),
        **library_versions(),
    }


def _telling(site: Site, signed: Mapping[str, SignedKey]) -> list[str]:
    """The sites that tell results of themselves alone, this one among them if it does."""
    own = [site.name] if site.policy.tells else []
    return [*own, *(name for name, entry in signed.items() if entry.tells)]


def _hiding(site: Site, study: Study, signed: Mapping[str, SignedKey]) -> dict[str, str]:
    """By site, this one among them, the columns that it hides; error 419 for what is none."""
    for name, entry in signed.items():
        columns_hidden(name, entry.hides)
    return {site.name: hidden_columns(site, study), **{name: entry.hides for name, entry in signed.items()}}


def _refuse_other_masks(site: Site, record: Mapping[str, Any]) -> None:
    """Error 418 if the site masked, or did not, when the run was opened; 417 if it trusts another identity now."""
    if record["masks"] != site.policy.masks:
        raise FedmviError(418, f"at the opening: {record['masks']}; in site.toml now: {site.policy.masks}")
    if not record["identities"] or record["peers"] == peers_digest(site):
        return
    trusted = peers(site)
    for name, identity in record["identities"].items():
        if name not in trusted or trusted[name].hex() != identity:
            raise FedmviError(417, f"the key of '{name}' is not the one at the opening", site=name)


def _refuse_consent_taken_back(site: Site, record: Mapping[str, Any]) -> None:
    """Error 430 if the site had signed that it may be left out, or tells results of itself alone, and does not now:
    others repeat, or have told, what they may while it consents."""
    if record["own"] and not site.policy.may_be_left_out:
        raise FedmviError(430, policy="may_be_left_out")
    if site.name in record["tells"] and not site.policy.tells:
        raise FedmviError(430, policy="release_alone")


def load_run(site: Site, ticket: Ticket) -> OpenRun:
    """The run that a message belongs to.

    Raises
    ------
    FedmviError
        507 never opened, 411 another study, 412 other rosters, 401 no longer approved, 502 other code, 417 another
        identity, 418 another policy of masks and 410 other data (or another `site.secret`) than at opening, 430 a
        consent taken back.
    """
    folder = run_folder(site, ticket.run_id)
    try:
        record = unpack(from_bytes((folder / "open.npz").read_bytes()), dict)
    except OSError as error:
        raise FedmviError(507) from error
    if record["fingerprint"] != ticket.study:
        raise FedmviError(411)
    if record["rosters"] != dict(ticket.rosters):
        raise FedmviError(412)
    refuse_unapproved(site, ticket.study)
    if record["code"] != code_fingerprint():
        raise FedmviError(502)
    _refuse_other_masks(site, record)
    _refuse_consent_taken_back(site, record)
    study = read_study(record["study"], ticket.study)
    if store_digest(site, study) != record["store"] or _secret_digest(site) != record["secret"]:
        raise FedmviError(410)
    frozen_path = folder / "frozen.npz"
    frozen = unpack(from_bytes(frozen_path.read_bytes()), Freeze) if frozen_path.exists() else None
    corrections = _corrections(folder / CORRECTED)
    masks = record["masks"] == "required"
    return OpenRun(
        folder,
        study,
        record["rosters"],
        record["store"],
        frozen,
        masks,
        record["keys"],
        record["patients"],
        tuple(record["alone"]),
        tuple(record["tells"]),
        record["hides"],
        corrections,
        record["own"],
    )


def _corrections(path: Path) -> FreezeCorrections | None:
    return unpack(from_bytes(path.read_bytes()), FreezeCorrections) if path.exists() else None


def freeze_run(run: OpenRun, task: Freeze | FreezeCorrections) -> Receipt:
    """Record what is frozen, or what is frozen in addition: see `_freeze_models` and `_freeze_corrections`."""
    return _freeze_models(run, task) if isinstance(task, Freeze) else _freeze_corrections(run, task)


def _freeze_models(run: OpenRun, task: Freeze) -> Receipt:
    """Record what is frozen, once; a second, different manifest is error 411, one beyond the study's models 414, and so
    is one that withholds what cannot be.

    The receipt counts the runs that have frozen models at this site, this one included: each of them may have
    looked at its closed cohorts.
    """
    known = {comparison.name for comparison in run.study.comparisons} | set(frozen_names(run.study))
    scoring = sum(len(network.combinations) * network.seeds for network in run.study.networks)
    scoring += sum(network.adaptation is not None for network in run.study.networks)
    # The cut-off of the chosen one, by which it is looked at by hospital and its fall is split.
    scoring += sum(bool(network.evaluate) for network in run.study.networks)
    scoring += subgroup_scores(run.study)
    if len(task.scores) > most_frozen(run.study) + scoring or not known.issuperset(task.comparisons):
        raise FedmviError(414, part="a model or comparison")
    if task.remedy and task.remedy not in remedies(run.study):
        raise FedmviError(414, part="a model or comparison")
    choices = [choice.models for choice in network_choices(run.study)]
    if any(sum(name in names for names in choices) < task.networks.count(name) for name in task.networks):
        raise FedmviError(414, part="a model or comparison")
    if not may_be_withheld(run.study, task.withheld):
        raise FedmviError(414, part="a model")
    path = run.folder / "frozen.npz"
    # What is on disk counts, not what `run` was loaded with: one message may freeze twice.
    if not path.exists():
        write_whole(path, to_bytes(pack(task, Freeze)))
    elif unpack(from_bytes(path.read_bytes()), Freeze) != task:
        raise FedmviError(411)
    openings = sum(1 for _ in run.folder.parent.glob("*/frozen.npz"))
    return {"frozen": pack(task, Freeze).digest, "openings": openings}


def _freeze_corrections(run: OpenRun, task: FreezeCorrections) -> Receipt:
    """Record what is frozen in addition to the models, once.

    Raises
    ------
    FedmviError
        436 the study declares no recalibration, its models are not frozen, or are not those that are named, or other
        corrections are frozen; 435 a correction that is not declared of a frozen score.
    """
    frozen_path, path = run.folder / "frozen.npz", run.folder / CORRECTED
    # What is on disk counts, as in `_freeze_models`.
    frozen = unpack(from_bytes(frozen_path.read_bytes()), Freeze) if frozen_path.exists() else None
    if not run.study.recalibrations or frozen is None or pack(frozen, Freeze).digest != task.frozen:
        raise FedmviError(436)
    names = [correction.name for correction in task.corrections]
    for correction in task.corrections:
        known = correction.recipe.digest in frozen.scores and names.count(correction.name) == 1
        if not known or not admissible(run.study, correction):
            raise FedmviError(435, name=correction.name[:64])
    if not path.exists():
        write_whole(path, to_bytes(pack(task, FreezeCorrections)))
    elif _corrections(path) != task:
        raise FedmviError(436)
    return {"frozen": pack(task, FreezeCorrections).digest}

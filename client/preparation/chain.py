"""client/preparation: one patient from files to features and ROI stacks, step by step; what is done is not repeated.

    check               everything is read and looked at
    register:<phase>    each phase is brought into the space of the reference phase
    intensities:<phase> MR: the bias field, and percentiles of the body, by which intensities are standardised
    regions             the regions' volumes, and what of the rings is lost
    features:<image>    each phase or difference of phases, on the working grid, in every region
    stack:<phase>       the rectangles around the tumour, before intensities are changed

Regions and features are also made of the second reader's tumour where the protocol asks for it.
"""

from __future__ import annotations

import math
import resource
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import SimpleITK as sitk  # noqa: N813

from client.cohort.problems import worst_first
from client.images.case import MaskKey, MaskSource, Scan
from client.images.checking.checks import problems_of
from client.images.checking.duplicates import Print, prints_of
from client.images.loading import CaseError, read_case
from client.imaging.bias import load_bias, save_bias
from client.imaging.intensity import landmarks_of
from client.imaging.pairs import PAIR, draw_pair
from client.imaging.previews import preview
from client.imaging.quality import PairQuality
from client.imaging.registration import Registered, load_quality, register
from client.imaging.resampling import Grid, resample_mask
from client.preparation.acquisition import Acquired, acquired
from client.preparation.inputs import input_digests
from client.preparation.patient import Job, Outcome
from client.preparation.stacking import apart, repeats, stack_of, write_stack
from client.preparation.steps import Steps, problem_as_json, problem_from_json, read_result, step_digest, write_result
from client.preparation.working import Comparable, Working, lost_rings, region_rows
from client.radiomics.extraction import extract
from common.errors import FedmviError, Severity
from common.errors.unforeseen import failed_on
from common.study.features import LANDMARKS
from common.study.fingerprint import digest
from common.study.preparation import Radiomics, Stacks, phases_of

Problems = list[FedmviError]


def prepare_patient(job: Job) -> Outcome:
    """Do every step of a patient that is not done yet; a problem of the patient is returned, not raised."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)  # the same sums in the same order, on every machine
    chain = _Chain(job)
    try:
        chain.run()
    except CaseError as error:
        return chain.outcome(error.problems)
    except FedmviError as error:
        return chain.outcome([error])
    except MemoryError:
        return chain.outcome([FedmviError(378)])
    except Exception as error:  # noqa: BLE001 - a fault of the program that one patient meets must not stop the others
        return chain.outcome([failed_on(job.case.patient, error)])
    return chain.outcome()


class _Chain:
    """The steps of one patient, with what they share in memory."""

    def __init__(self, job: Job) -> None:
        self.case, self.preparation, self._secret = job.case, job.preparation, job.secret
        self._complete = job.complete
        self._store, self._steps = job.store, Steps(job.store, job.case.patient)
        self._moving = [phase for phase in job.case.images if phase != job.preparation.reference]
        self._inputs: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        self._seconds: dict[str, float] = {}
        self._problems: Problems = []
        self._qualities: dict[str, PairQuality] = {}
        self._registrations: dict[str, Registered] = {}
        self._pairs: dict[str, Path] = {}
        self._intensities: dict[str, Path] = {}
        self._features: dict[int, dict[str, float]] = {1: {}, 2: {}}
        self._volumes: list[Mapping[str, Any]] = []
        self._stacks: dict[str, Path] = {}
        self._spaces: dict[int, Working] = {}
        self._prints: tuple[Print, ...] = ()
        self._acquisition: Acquired = {}
        self._made: list[Path] = []

    def run(self) -> None:
        """All steps."""
        self._steps.sweep()
        self._inputs = input_digests(self.case, self._store)
        try:
            self._do_steps()
        finally:
            self._refuse_changed()

    def _do_steps(self) -> None:
        self._check()
        if not self._complete:
            return
        for phase in self._moving:
            self._register(phase)
        if self.preparation.radiomics is not None:
            for phase in self.case.images if self.preparation.modality == "mr" else ():
                self._landmarks(phase)
            second = self.preparation.radiomics.second_reader and "tumour" in self._masks(2)
            for reader in (1, 2) if second else (1,):
                self._regions(reader)
                for image in self.preparation.images:
                    if set(phases_of(image)) <= set(self.case.images):
                        self._extract(image, reader)
        if self.preparation.stacks is not None:
            for phase in (self.preparation.reference, *self._moving):
                self._stack(phase, self.preparation.stacks)

    def outcome(self, fatal: Sequence[FedmviError] = ()) -> Outcome:
        """What came of it; `fatal` is why it ended early."""
        failed = bool(fatal) or not self._complete
        return Outcome(
            self.case.patient,
            features={} if failed else self._features,
            registrations=() if failed else tuple(asdict(quality) for quality in self._qualities.values()),
            regions=() if failed else tuple(self._volumes),
            stacks={} if failed else self._stacks,
            pairs={} if failed else self._pairs,
            problems=tuple(map(self._named, [*worst_first(fatal), *worst_first(self._problems)])),
            steps=self._digests,
            inputs=self._inputs,
            failed=failed,
            seconds=self._seconds,
            peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            acquisition={} if failed else self._acquisition,
            prints=self._prints,
        )

    def _refuse_changed(self) -> None:
        """Forget what was made of files that changed after their digest was taken."""
        if self._made and input_digests(self.case, self._store) != self._inputs:
            for folder in self._made:
                shutil.rmtree(folder)
            raise FedmviError(379)

    def _named(self, problem: FedmviError) -> FedmviError:
        """A problem whose local text begins with the patient."""
        if problem.local.startswith(f"{self.case.patient}:"):
            return problem
        local = f"{self.case.patient}: {problem.local}" if problem.local else self.case.patient
        return FedmviError(problem.number, local, severity=problem.severity, **problem.facts)

    def _step(
        self,
        name: str,
        inputs: Sequence[str],
        settings: Any,
        parents: Sequence[str],
        work: Callable[[Path, Problems], Mapping[str, Any]],
    ) -> tuple[Path, dict[str, Any]]:
        """The folder and the result of a step, which is done now if it is not done yet."""
        wanted = {key: self._inputs[key] for key in inputs if key in self._inputs}
        wanted_digest = step_digest(name, wanted, settings, [self._digests[parent] for parent in parents])
        self._digests[name] = wanted_digest
        if self._steps.find(name, wanted_digest) is None:
            start = time.perf_counter()
            with self._steps.make(name, wanted_digest) as new:
                problems: Problems = []
                result = work(new, problems)
                write_result(new, {**result, "problems": [problem_as_json(self._named(p)) for p in problems]})
            self._made.append(self._steps.folder(name, wanted_digest))
            kind = name.partition(":")[0]
            self._seconds[kind] = self._seconds.get(kind, 0.0) + time.perf_counter() - start
        folder = self._steps.folder(name, wanted_digest)
        result = read_result(folder)
        self._problems += [problem_from_json(problem) for problem in result["problems"]]
        return folder, result

    def _check(self) -> None:
        def work(_: Path, problems: Problems) -> dict[str, Any]:
            scan, unreadable = self._read
            self._prints = tuple(prints_of(scan, self.case))
            problems += problems_of(scan, self.preparation, self.case)
            if unreadable:
                # Not kept as done: a folder that may not be read today is mended without a change of any file.
                raise CaseError([*unreadable, *problems])
            return {
                "prints": [asdict(each) for each in self._prints],
                "acquisition": acquired(scan, self.preparation),
            }

        # A manifest may say other seconds, or another vendor, of the same files.
        said = {
            phase: [source.seconds, source.agent, source.tesla, source.vendor, source.b_value]
            for phase, source in self.case.images.items()
        }
        settings = self.preparation.model_dump(mode="json") | {"said": said}
        _, result = self._step("check", list(self._inputs), settings, (), work)
        self._prints = tuple(Print(**{**each, "mask": _mask_key(each["mask"])}) for each in result["prints"])
        self._acquisition = result["acquisition"]
        errors = [problem for problem in self._problems if problem.severity is Severity.ERROR]
        if errors:
            self._problems = [problem for problem in self._problems if problem not in errors]
            raise CaseError(errors)

    def _register(self, phase: str) -> None:
        reference = self.preparation.reference
        drawn = {(mask.region, mask.phase) for mask in self.case.masks if mask.reader == 1}
        outlined = [region for region in ("tumour", "liver") if (region, reference) in drawn]

        def work(folder: Path, problems: Problems) -> dict[str, Any]:
            images, masks = self._scan.images, self._scan.mask
            pairs = {r: (self._scan.masks[r, 1, reference], masks(r, phase)) for r in outlined}
            registered = register(images[reference], images[phase], phase, self.preparation, pairs)
            registered.save(folder)
            here, there = images[reference].image, images[phase].image
            drawn = masks("tumour", reference), masks("tumour", phase)
            (folder / PAIR).write_bytes(draw_pair(here, there, registered, *drawn, self.preparation.modality))
            problems += self._doubts(registered.quality)
            return {}

        inputs = [f"image:{p}" for p in (reference, phase)]
        inputs += [f"mask:{region}:1:{p}" for region in outlined for p in (reference, phase)]
        settings = self.preparation.model_dump(mode="json", include={"registration", "modality"})
        folder, _ = self._step(f"register:{phase}", inputs, settings, (), work)
        self._qualities[phase] = load_quality(folder)
        self._pairs[phase] = folder

    def _registered(self, phase: str) -> Registered:
        """A phase's way into the reference phase's space; its field is unpacked when the first step asks for it."""
        if phase not in self._registrations:
            self._registrations[phase] = Registered.load(self._pairs[phase])
        return self._registrations[phase]

    def _doubts(self, quality: PairQuality) -> Problems:
        """What a person should look at in a registered pair; that a field adds nothing is only noted."""
        limits = self.preparation.registration
        refused = quality.folding > limits.max_folding or quality.max_displacement_mm > limits.max_displacement_mm
        apart = quality.dice_liver is not None and quality.dice_liver < limits.min_dice
        words = [quality.fell_back] if quality.fell_back else []
        words += [f"the livers overlap by {quality.dice_liver:.2f}, less than {limits.min_dice:g}"] if apart else []
        severity = Severity.WARNING if refused or apart else Severity.NOTE
        local = f"{quality.phase}: {'; '.join(words)}"
        return [FedmviError(371, local, severity=severity)] if words else []

    def _landmarks(self, phase: str) -> None:
        def work(folder: Path, _: Problems) -> dict[str, Any]:
            image, body = self._comparable.corrected(phase)
            if body is None:
                raise ValueError("landmarks are those of a body")
            if self.preparation.intensity.n4:
                save_bias(self._comparable.biases[phase], folder)
            return {"values": landmarks_of(image, body)}

        settings = {"n4": self.preparation.intensity.n4}
        folder, result = self._step(f"intensities:{phase}", [f"image:{phase}"], settings, (), work)
        names = (f"{phase}.body.original_landmark_P{at}" for at in LANDMARKS)
        self._features[1] |= dict(zip(names, result["values"], strict=True))
        self._intensities[phase] = folder

    def _regions(self, reader: int) -> None:
        def work(_: Path, problems: Problems) -> dict[str, Any]:
            working = self._working(reader)
            problems += lost_rings(working.made)
            return {"regions": region_rows(working.made)}

        settings = self.preparation.model_dump(mode="json", include={"reference", "resampling", "regions"})
        settings["radiomics"] = self._radiomics.model_dump(mode="json")
        inputs, parents = self._needs(reader, ())
        _, result = self._step(_of_reader("regions", reader), inputs, settings, parents, work)
        self._volumes += [{"reader": reader, **row} for row in result["regions"]]

    def _extract(self, image: str, reader: int) -> None:
        """Features of one image in the regions of one reader's tumour."""
        phases = phases_of(image)

        def work(_: Path, problems: Problems) -> dict[str, Any]:
            working = self._working(reader)
            self._recall_biases(phases)
            found = extract(
                {image: working.image(image)}, working.made.masks, self.preparation, patient=self.case.patient
            )
            problems += found.problems
            problems += [problem for phase in phases for problem in working.uncovered(phase)]
            return {"values": {name: value for name, value in found.values.items() if math.isfinite(value)}}

        inputs, parents = self._needs(reader, phases)
        parents += [f"intensities:{phase}" for phase in phases if phase in self._intensities]
        name = _of_reader(f"features:{image}", reader)
        _, result = self._step(name, inputs, self._feature_settings(image), parents, work)
        self._features[reader] |= result["values"]

    def _recall_biases(self, phases: Sequence[str]) -> None:
        """Bias fields that an earlier run found."""
        if self.preparation.intensity.n4:
            for phase in set(phases) - set(self._comparable.biases):
                image = self._scan.images[phase].image
                self._comparable.biases[phase] = load_bias(self._intensities[phase], image)

    def _feature_settings(self, image: str) -> dict[str, Any]:
        """What of the protocol the features of one image depend on."""
        intensity, phases = self.preparation.intensity, phases_of(image)
        kinds = {image: self.preparation.kind(image)} | dict.fromkeys(phases, intensity.phase)
        return {
            **self.preparation.model_dump(mode="json", include={"modality", "reference", "resampling", "regions"}),
            "radiomics": self._radiomics.model_dump(mode="json", exclude={"second_reader"}),
            "kinds": {name: kind.model_dump(mode="json") for name, kind in kinds.items()},
            "scale": [intensity.n4, intensity.scale],
            "landmarks": {phase: intensity.landmarks.get(phase) for phase in phases},
        }

    def _stack(self, phase: str, settings: Stacks) -> None:
        reference = self.preparation.reference
        own = next((m for m in self.case.masks if (m.region, m.reader, m.phase) == ("tumour", 1, phase)), None)
        outline = own or self._masks(1)["tumour"]
        moves = own is None and phase != reference

        def work(folder: Path, problems: Problems) -> dict[str, Any]:
            tumour = self._carried(outline) if own is None else self._scan.masks["tumour", 1, phase]
            registered = self._registered(phase) if moves else None
            at_mm = None if phase == reference else read_result(self._stacks[reference])["at_mm"]
            made, overlap = stack_of(
                self._scan, phase, tumour, registered, at_mm, self.preparation, settings, self._secret,
                self._scan.mask("tumour", phase, reader=2),
            )  # fmt: skip
            problems += [*repeats(made, phase), *apart(overlap, phase)]
            image, modality = self._scan.images[phase].image, self.preparation.modality
            return write_stack(folder, made, preview(self.case.patient, phase, image, made, modality), overlap)

        used = [p for p in dict.fromkeys((phase, outline.phase)) if own is None and p != reference]
        parents = [*(f"register:{p}" for p in used), *([f"stack:{reference}"] if phase != reference else [])]
        drawn = settings.model_dump(mode="json") | {"secret": digest(self._secret)}
        inputs = [f"image:{phase}", _key(outline), f"mask:tumour:2:{phase}"]
        folder, _ = self._step(f"stack:{phase}", inputs, drawn, parents, work)
        self._stacks[phase] = folder

    @cached_property
    def _read(self) -> tuple[Scan, Problems]:
        """Read when the first step asks for voxels: a patient of whom all is done is not read again."""
        return read_case(self.case)

    @property
    def _scan(self) -> Scan:
        scan, unreadable = self._read
        if unreadable:
            raise CaseError(unreadable)
        return scan

    @cached_property
    def _comparable(self) -> Comparable:
        return Comparable(self._scan, self.preparation)

    @property
    def _radiomics(self) -> Radiomics:
        if self.preparation.radiomics is None:
            raise ValueError("the protocol asks for no features")
        return self.preparation.radiomics

    def _needs(self, reader: int, phases: Sequence[str]) -> tuple[list[str], list[str]]:
        """Files and registrations that phases and a reader's regions come from."""
        masks, reference = self._masks(reader).values(), self.preparation.reference
        used = dict.fromkeys((*phases, *(mask.phase for mask in masks)))
        inputs = [f"image:{phase}" for phase in dict.fromkeys((reference, *used))] + [_key(mask) for mask in masks]
        return inputs, [f"register:{phase}" for phase in used if phase != reference]

    def _masks(self, reader: int) -> dict[str, MaskSource]:
        """For every region that is used, where it is outlined: on the reference phase, else on the first that has it.

        Of other regions than the tumour, the first reader's.
        """
        order = [self.preparation.reference, *self.preparation.phases]
        found: dict[str, MaskSource] = {}
        for mask in sorted((m for m in self.case.masks if m.phase in order), key=lambda m: order.index(m.phase)):
            used = mask.region in ("tumour", "liver", *self.preparation.regions.exclude)
            if used and mask.reader == (reader if mask.region == "tumour" else 1):
                found.setdefault(mask.region, mask)
        return found

    def _carried(self, mask: MaskSource) -> sitk.Image:
        """A mask on the grid of the reference phase; one drawn on another phase moves along with it."""
        drawn = self._scan.masks[mask.region, mask.reader, mask.phase]
        if mask.phase == self.preparation.reference:
            return drawn
        grid = Grid.of(self._scan.images[self.preparation.reference].image)
        moved: sitk.Image = resample_mask(drawn, grid, "shape-based", self._registered(mask.phase).transform)
        return moved

    def _working(self, reader: int) -> Working:
        if reader not in self._spaces:
            carried = {region: self._carried(mask) for region, mask in self._masks(reader).items()}
            transforms = {phase: self._registered(phase).transform for phase in self._moving}
            self._spaces[reader] = Working(self._comparable, carried, transforms, self.preparation, self._radiomics)
        return self._spaces[reader]


def _of_reader(step: str, reader: int) -> str:
    return step if reader == 1 else f"{step}:reader{reader}"


def _key(mask: MaskSource) -> str:
    return f"mask:{mask.region}:{mask.reader}:{mask.phase}"


def _mask_key(kept: Sequence[Any] | None) -> MaskKey | None:
    return None if kept is None else (kept[0], kept[1], kept[2])

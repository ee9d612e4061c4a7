"""common/study: `[[networks]]`: a convolutional network on ROI stacks, and how it is trained over the sites.

Presets are filled in when the protocol is read, so that the study's fingerprint names numbers and not a preset.
"""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from common.spelling import nearest
from common.study.dictionary import Name

SEQUENCES = ("t1", "t1-in", "t1-opposed", "t1a", "t1v", "t1d", "hepatobiliary", "t2", "dwi", "adc", "plain", "arterial",
             "portal", "delayed")  # fmt: skip
"""The canonical order of sequences: a network's branches are in this order, however a protocol lists them."""

MAX_SEQUENCES = 6
"""Most branches of a network, as published."""

PUBLISHED_COMBINATIONS: dict[str, tuple[tuple[str, ...], ...]] = {
    "published-results": (("t1", "t1v", "t1d"),),
    "published-methods": (("t1a", "t1v", "t1d"),),
}
"""What World J Surg Oncol 2022 calls its best combination: its Results and its Methods contradict each other."""

Normalisation = Literal["batch", "group", "fedbn", "silobn"]
STAYING: frozenset[Normalisation] = frozenset({"fedbn", "silobn"})
"""Normalisations whose statistics belong to a site and never leave it."""

Strategy = Literal["fedavg", "fedprox", "fedadam", "scaffold", "trimmed-mean"]
Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


def _known(sequence: str) -> str:
    if sequence not in SEQUENCES:
        raise ValueError(f"{sequence!r} is not a sequence: {', '.join(SEQUENCES)}{nearest(sequence, SEQUENCES)}")
    return sequence


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _without(data: Any, *names: str) -> Any:
    """TOML has no null: `false` says that there is none."""
    if not isinstance(data, dict):
        return data
    return {key: None if key in names and value is False else value for key, value in data.items()}


class Augmentation(_Table):
    """`augmentation`: how slices are varied in training, each drawn anew for every slice and epoch."""

    flip: Share = Field(default=0.5, description="Probability of a flip, left-right and up-down each.")
    crop: tuple[Share, Share] = Field(
        default=(0.75, 1.0), description="Side of the part that is cut out and resized, as a share of the whole."
    )
    scale: tuple[Positive, Positive] = Field(default=(0.9, 1.1), description="Factor of magnification.")
    noise: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.05, description="Standard deviation of Gaussian noise, in standard deviations of the image."
    )


class Training(_Table):
    """`training`: how a site trains in one round."""

    preset: Literal["sane", "published"] = Field(
        default="sane",
        description="What is not given: `sane`, or `published` (Adam at 0.1, batch 2, 200 epochs, 9:1 split).",
    )
    optimiser: Literal["adam", "adamw", "sgd"] = Field(default="adamw", description="The site's optimiser.")
    learning_rate: Positive = Field(default=3e-4, description="Of the site's optimiser.")
    momentum: Decay = Field(default=0.9, description="Of `sgd`.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(default=1e-4, description="Decay of weights.")
    batch: Annotated[int, Field(ge=1, le=64)] = Field(default=4, description="Patients of a batch.")
    accumulate: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="Batches whose gradients are added up before a step."
    )
    max_combinations: Annotated[int, Field(ge=1, le=729)] = Field(
        default=27, description="Most combinations of slices of a patient in an epoch; more are drawn from."
    )
    clip_norm: Positive | None = Field(default=1.0, description="Largest norm of a step's gradient; `false`: any.")
    class_weights: Literal["balanced", "none"] = Field(
        default="balanced", description="`balanced`: inversely to the pooled numbers of training patients."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="`auto`: bf16 where the device computes faster with it."
    )
    deterministic: bool = Field(default=True, description="The same seed gives the same weights on the same device.")
    keep_optimiser: bool = Field(
        default=False, description="Keep the optimiser's moments at the site from round to round."
    )
    augmentation: Augmentation | None = Field(default=Augmentation(), description="Below; `false`: none.")

    @model_validator(mode="before")
    @classmethod
    def _none(cls, data: Any) -> Any:
        return _without(data, "clip_norm", "augmentation")


class FederatedTraining(_Table):
    """`federation`: rounds, and how the sites' updates become the next weights."""

    strategy: Strategy = Field(default="fedavg", description="The federated optimiser.")
    rounds: Annotated[int, Field(ge=1, le=2000)] = Field(default=60, description="Most rounds.")
    epochs_per_round: Annotated[int, Field(ge=1, le=100)] = Field(default=1, description="Local epochs of a round.")
    patience: Annotated[int, Field(ge=1)] | None = Field(
        default=15,
        description="Rounds without a lower validation loss before training stops; `false`: all rounds.",
    )
    proximal: Annotated[float, Field(ge=0)] = Field(default=0.01, description="fedprox: weight of the proximal term.")
    server_learning_rate: Positive = Field(
        default=1.0, description="Step of the server, as a share of the mean update; of fedadam its rate, default 0.01."
    )
    beta1: Decay = Field(default=0.9, description="fedadam: decay of the first moment.")
    beta2: Decay = Field(default=0.99, description="fedadam: decay of the second moment.")
    tau: Positive = Field(default=1e-3, description="fedadam: what is added to the root of the second moment.")
    trim: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        default=0.1,
        description="trimmed-mean: share of sites left out at either end, for every weight, in whole sites.",
    )
    lock_step: Annotated[int, Field(ge=1, le=64)] = Field(
        default=16, description="Most trainings that share a round; more only wait their turn."
    )

    deadline_minutes: Annotated[int, Field(ge=1, le=10080)] = Field(
        default=60,
        description="Longest that all sites may take to answer a round; then the run stops (503) and can be resumed.",
    )

    @model_validator(mode="before")
    @classmethod
    def _none(cls, data: Any) -> Any:
        return _without(data, "patience")


class Privacy(_Table):
    """`privacy`: differentially private training (DP-SGD) of each patient at his site, over all rounds."""

    epsilon: Positive = Field(description="Epsilon that all rounds of one training together may spend.")
    delta: Annotated[float, Field(gt=0, lt=1e-2)] = Field(description="Delta, below 1 / patients.")
    max_grad_norm: Positive = Field(default=1.0, description="Norm at which one patient's gradient is clipped.")


class Projection(_Table):
    """`projection`: whether the network sees the patients of one cohort as others than those of another."""

    cohorts: tuple[str, ...] = Field(
        min_length=2,
        max_length=4,
        description="Of `evaluate`, the first of which the others are compared with. Never the training cohort: the "
        "network has seen its patients.",
    )
    dimensions: Annotated[int, Field(ge=2, le=32)] = Field(
        default=8,
        description="Numbers to which a patient's vector of a sequence is reduced at the site by public random "
        "directions; twice as many must be no more than `max_parameters` of a cohort's patients.",
    )


class Adaptation(_Table):
    """`adaptation`: a network of batch normalisation takes on the statistics of a hospital's images, without labels.

    Each hospital decides for itself, by its scores, and keeps the network as it was trained where another frequency of
    the endpoint would explain what differs. Both are reported.
    """

    method: Literal["batch-norm"] = Field(
        default="batch-norm", description="Means and variances of all normalisation layers are estimated anew."
    )
    patients: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=20,
        description="k: of a hospital's n patients the statistics count n / (n + k), those of training the rest. With "
        "the default half of them are the hospital's at the fewest patients that are taken, 20.",
    )
    cohorts: tuple[str, ...] = Field(
        min_length=1, max_length=4, description="Of `evaluate`, with the role external-test."
    )


class Network(_Table):
    """`[[networks]]`: a network, the combinations of sequences that are compared, and how it is trained."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]{0,31}$")] = Field(description="Name of the network.")
    label: str = Field(default="", description="How reports print it.")
    endpoint: Name = Field(description="A binary endpoint, or an ordinal one of three levels (M0, M1, M2).")
    present: Name | None = Field(
        default=None, description="Ordinal: the binary endpoint that is present above the lowest level."
    )
    cohort: str = Field(description="The cohort it is trained in; its role is train.")
    evaluate: tuple[str, ...] = Field(default=(), description="Cohorts in which it is evaluated, besides its own.")
    combinations: tuple[tuple[str, ...], ...] = Field(
        default=(),
        min_length=1,
        description='Combinations of sequences, as [["t1", "t1v"]], or words: `single` (each sequence of `sequences` '
        "alone), `all` (all of them together), `published-results`, `published-methods`, `every` (all subsets), or "
        "`ablation` (single, both published ones, all), which stands where nothing does.",
    )
    sequences: tuple[Annotated[str, AfterValidator(_known)], ...] = Field(
        default=(),
        min_length=1,
        description="The sequences that the words are about; where nothing stands, those that `combinations` names.",
    )
    missing: Literal["exclude", "mask"] = Field(
        default="exclude",
        description="A patient who lacks a sequence that any combination uses is left out of all combinations, and "
        "counted; or he takes part in all if he has any of the sequences, and the branches he lacks are masked.",
    )
    normalisation: Normalisation = Field(
        default="group",
        description="Of layers: batch (statistics averaged over sites), group (none), fedbn (statistics and scales "
        "stay at each site), silobn (statistics stay, scales are shared).",
    )
    width: Annotated[int, Field(ge=8, le=64)] = Field(
        default=64, description="Channels after the first layer; 64 as published, fewer for sites without a GPU."
    )
    blocks: Annotated[int, Field(ge=1, le=6)] = Field(
        default=6, description="Bottlenecks of each half; 6 as published."
    )
    size: Annotated[int, Field(ge=32, le=512)] = Field(
        default=320, description="Rows and columns that enter the network; stacks are resized to it."
    )
    inference: Literal["mean", "first"] = Field(
        default="mean",
        description="The score of a patient: the mean over combinations of slices, or the first slices, as published. "
        "Both are reported.",
    )
    development: Literal["nested", "leave-one-centre-out", "published"] = Field(
        default="nested",
        description="`nested`: out-of-fold scores of an outer cross-validation whose folds take no part in stopping. "
        "`leave-one-centre-out`: the same with hospitals for folds: each is scored by the network that was trained, "
        "and stopped, without it. `published`: one 9:1 split, selected and optimistic, and labelled so.",
    )
    folds: Annotated[int, Field(ge=5, le=10)] = Field(
        default=5,
        description="Outer folds of `nested`; of `leave-one-centre-out` the parts into which the patients of the "
        "other hospitals are dealt, of which the first decides when training stops.",
    )
    seeds: Annotated[int, Field(ge=1, le=20)] = Field(
        default=5, description="Trainings of each combination; the first is the model, the others tell the spread."
    )
    training: Training = Field(default=Training(), description="[networks.training], below.")
    federation: FederatedTraining = Field(default=FederatedTraining(), description="[networks.federation], below.")
    privacy: Privacy | None = Field(
        default=None, description="[networks.privacy], below. Absent: training is not differentially private."
    )
    projection: Projection | None = Field(
        default=None, description="[networks.projection], below. Absent: cohorts are not compared by the network's eye."
    )
    adaptation: Adaptation | None = Field(
        default=None, description="[networks.adaptation], below. Absent: every hospital uses the network as it is."
    )

    @model_validator(mode="before")
    @classmethod
    def _presets(cls, data: Any) -> Any:
        return _filled(data)

    @property
    def title(self) -> str:
        """The label, or the name where no label was given."""
        return self.label or self.name

    @property
    def held_out(self) -> tuple[int, ...]:
        """The folds of patients that trainings leave out: every one, or of the published development the first of ten.

        Where hospitals are left out instead, `common.federation.learning.left_out_parts` has them.
        """
        return (0,) if self.development == "published" else tuple(range(self.folds))

    @property
    def by_centre(self) -> bool:
        """Whether its trainings leave out hospitals, and not folds of patients."""
        return self.development == "leave-one-centre-out"

    @property
    def statistics_stay(self) -> bool:
        """Whether a part of its normalisation layers never leaves a site: weights alone are no network there."""
        return self.normalisation in STAYING

    @property
    def grades(self) -> str:
        """The endpoint of which the network gives probabilities."""
        return self.endpoint

    @property
    def binary(self) -> str:
        """The binary endpoint that its score is held against."""
        return self.present or self.endpoint


def in_order(sequences: tuple[str, ...]) -> tuple[str, ...]:
    """Sequences in canonical order, each once; names that are none come last, for whoever refuses them."""
    return tuple(sorted(set(sequences), key=lambda s: (SEQUENCES.index(s) if s in SEQUENCES else len(SEQUENCES), s)))


def _filled(data: Any) -> Any:
    """Presets and words of combinations as what they stand for."""
    return _trained(_combined(data)) if isinstance(data, dict) else data


def _combined(data: dict[str, Any]) -> dict[str, Any]:
    """`sequences` and `combinations`, as far as they are lists of names; types are checked afterwards."""
    given = data.get("combinations", "ablation")
    words = (given,) if isinstance(given, str) else given
    if not isinstance(words, tuple) or not all(isinstance(w, str) or _names(w) for w in words):
        return data
    meant = (c for w in words for c in (PUBLISHED_COMBINATIONS.get(w, ()) if isinstance(w, str) else (w,)))
    listed = in_order(tuple(s for combination in meant for s in combination))
    sequences = data.get("sequences", listed)
    if not _names(sequences):
        return data
    if not sequences and words:
        raise ValueError("`sequences` are needed: the words of `combinations` stand for subsets of them")
    chosen = [c for w in words for c in (_named(w, in_order(sequences)) if isinstance(w, str) else (in_order(w),))]
    ordered = in_order(sequences) if set(sequences) <= set(SEQUENCES) else sequences
    return data | {"sequences": ordered, "combinations": tuple(dict.fromkeys(chosen))}


def _names(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)


def _trained(data: dict[str, Any]) -> dict[str, Any]:
    """The numbers of the preset `published`, and a rate for fedadam, where none are given."""
    training, federation = data.get("training", {}), data.get("federation", {})
    if not isinstance(training, dict) or not isinstance(federation, dict):
        return data
    if federation.get("strategy") == "fedadam":
        federation = {"server_learning_rate": 0.01, **federation}
    if training.get("preset") == "published":
        training = {**_PUBLISHED_TRAINING, **training}
        federation = {"rounds": 200, "patience": False, **federation}
        data = {"normalisation": "batch", "inference": "first", "development": "published", **data}
    return data | {"training": training, "federation": federation}


_PUBLISHED_TRAINING = {"optimiser": "adam", "learning_rate": 0.1, "batch": 2, "weight_decay": 0.0, "clip_norm": False,
                       "class_weights": "none", "keep_optimiser": True}  # fmt: skip


def _named(word: str, whole: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The combinations that a word stands for."""
    single = tuple((s,) for s in whole)
    published = tuple(c for named in PUBLISHED_COMBINATIONS.values() for c in named if set(c) <= set(whole))
    words = {
        **PUBLISHED_COMBINATIONS,
        "single": single,
        "all": (whole,),
        "every": tuple(c for k in range(1, len(whole) + 1) for c in combinations(whole, k)),
        "ablation": (*single, *published, whole),
    }
    if word not in words:
        hint = f'; write [["{word}"]] for that sequence alone' if word in SEQUENCES else nearest(word, tuple(words))
        raise ValueError(f"`combinations`: {word!r} is none of {', '.join(words)}{hint}")
    return words[word]

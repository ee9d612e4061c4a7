"""simulation/scale: as many hospitals as one likes, all alike, and the study over all of them."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

from common.study.loader import parse_study
from simulation.cohorts.consortium import Clinical, Consortium, Group, Site, Survival, Trait
from simulation.hospitals import make_hospitals
from simulation.learning.hospitals import Drawing, make_learning_hospitals
from simulation.scale.kinds import Kind

PATIENTS, PRESENT = 60, 27
"""Of a hospital, and with MVI among them in a table. The gate's limits hold at each hospital: of twenty patients one
hospital in a thousand has too few with some level of a predictor (409), or one that tells MVI in all of them (314), and
of the tenth that stops a network's training there must be five (403)."""
EVERYBODY = '["*"]'
SEED = 1
EFFECT = 0.5
"""Of invasion on the stacks, which are noise: a network is to be trained, and no picture to be read."""
_TRAITS = {"tumour_margin_smooth": (0.60, 0.6), "imaging_capsule": (0.50, 0.8)}
"""Share without MVI and odds ratio."""


def site_names(count: int) -> tuple[str, ...]:
    """What the hospitals are called."""
    return tuple(f"site-{number:05d}" for number in range(1, count + 1))


def study_text(kind: Kind, count: int) -> str:
    """The protocol over that many hospitals."""
    template = resources.files("simulation.scale").joinpath(f"{kind.value}.toml").read_text(encoding="utf-8")
    return template.replace(EVERYBODY, json.dumps(list(site_names(count))))


def make_sites(kind: Kind, count: int, folder: Path) -> Path:
    """Make the hospitals in `folder/sites`; the protocol's file, which is written beside."""
    study_file = folder / "study.toml"
    folder.mkdir(parents=True)
    text = study_text(kind, count)
    study_file.write_text(text, encoding="utf-8")
    if kind is Kind.NETWORK:
        make_learning_hospitals(
            folder / "sites", parse_study(text), Drawing(SEED, patients=PATIENTS, effect=EFFECT, noise=True)
        )
    else:
        make_hospitals(_consortium(count), folder / "sites", SEED)
    return study_file


def _consortium(count: int) -> Consortium:
    traits = {name: Trait(absent=a, odds_ratio=odds, assumed=True) for name, (a, odds) in _TRAITS.items()}
    return Consortium(
        name="scale",
        title="Hospitals that are all alike",
        sources=("Made to measure costs.",),
        assumptions=("All numbers are assumed.",),
        sites=tuple(Site(name=name, groups=(Group(patients=PATIENTS, present=PRESENT),)) for name in site_names(count)),
        clinical=Clinical(traits=traits),
        survival=Survival(preset="medians", follow_up_months=84.0),
    )

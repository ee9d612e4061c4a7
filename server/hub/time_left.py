"""server/hub: what can be said of the time that a run still takes whose study has not been run before.

Rounds that are left times what a round of the step takes now. Where the patients decide how many rounds a step takes,
it is those that other studies took for it at this hub, from the fewest to the most, and without any nothing is said.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from server.study.progress import Progress, Taken
from server.study.steps import Step

PATIENTS_DECIDE = "the patients decide how many rounds they take, and no other study here tells how many that may be"
NOT_MEASURED = "no round of them was answered yet"


class TimeLeft(BaseModel):
    """What is known of the time left.

    Attributes
    ----------
    least, most
        Seconds of the steps that are not in `unknown`, where a round lasts as long as the latest ones did.
    perhaps
        Whether rounds of a step are only those that other studies took.
    trainings
        How many of `most` are for the trainings of networks.
    unknown
        Steps of which nothing can be said, by the reason.
    """

    model_config = ConfigDict(frozen=True)

    least: float = 0.0
    most: float = 0.0
    perhaps: bool = False
    trainings: float = 0.0
    unknown: dict[str, tuple[str, ...]] = {}


def rounds_by_step(finished: Iterable[Progress]) -> dict[str, tuple[int, int]]:
    """The fewest and the most rounds that finished runs took, by step; a step without a question took none."""
    runs = [progress.steps for progress in finished if progress.steps]
    names = {name for steps in runs for name in steps}
    taken = {name: [steps.get(name, Taken()).rounds for steps in runs] for name in names}
    return {name: (min(rounds), max(rounds)) for name, rounds in taken.items()}


def time_left(steps: Sequence[Step], progress: Progress, elsewhere: Mapping[str, tuple[int, int]]) -> TimeLeft | None:
    """The time left of a run that is at one of the steps; None before the first.

    Parameters
    ----------
    elsewhere
        `rounds_by_step` of other studies.
    """
    names = [step.words for step in steps]
    if progress.step not in names:
        return None
    least, most, trainings = 0.0, 0.0, 0.0
    perhaps = False
    unknown: dict[str, tuple[str, ...]] = {}
    for step in steps[names.index(progress.step) :]:
        rounds, pace = _rounds(step, progress, elsewhere), _pace(step, steps, progress)
        if rounds is None or pace is None:
            why = PATIENTS_DECIDE if rounds is None else NOT_MEASURED
            unknown[why] = (*unknown.get(why, ()), step.words)
            continue
        least, most = least + rounds[0] * pace, most + rounds[1] * pace
        trainings += rounds[1] * pace if step.network else 0.0
        perhaps = perhaps or step.most is None
    return TimeLeft(
        least=round(least, 1), most=round(most, 1), perhaps=perhaps, trainings=round(trainings, 1), unknown=unknown
    )


def _rounds(step: Step, progress: Progress, elsewhere: Mapping[str, tuple[int, int]]) -> tuple[int, int] | None:
    """The fewest and the most rounds left of a step; None where that is not known, or turned out to be wrong.

    A run that is taken up again is opened again, and then has taken more rounds for it than there are.
    """
    least, most = step.least, step.most
    if most is None:
        if step.words not in elsewhere:
            return None
        least, most = elsewhere[step.words]
    taken = progress.steps.get(step.words, Taken()).rounds
    if taken > most > least:
        return None
    return max(0, least - taken), max(0, most - taken)


def _pace(step: Step, steps: Sequence[Step], progress: Progress) -> float | None:
    """Median seconds of the latest rounds: of the step, or else of those that train the same network, or train none."""
    own = progress.steps.get(step.words, Taken()).seconds
    like = [other.words for other in steps if other.network == step.network]
    seconds = own or tuple(s for name in like for s in progress.steps.get(name, Taken()).seconds)
    return statistics.median(seconds) if seconds else None

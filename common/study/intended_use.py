"""common/study: what a trained model may be used for; every file that hands one on says so."""

from __future__ import annotations

RESEARCH = "Research only. It is no medical device, and no decision about a patient may rest on it."

SIMULATED = "Simulated: learned from invented patients, and good for nothing but trying the programs."


def intended_use(*, simulated: bool) -> str:
    """The sentences, of a study of invented patients or of real ones."""
    return f"{SIMULATED} {RESEARCH}" if simulated else RESEARCH

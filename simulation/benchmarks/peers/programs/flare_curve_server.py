"""simulation: benchmarks: peers: the server's part of NVIDIA FLARE's Kaplan-Meier under encryption."""

import json
from pathlib import Path
from typing import Any

import tenseal
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.workflows.model_controller import ModelController

ROUNDS = 3


class EncryptedCurve(ModelController):  # type: ignore[misc, unused-ignore]
    """The longest time of all sites, then the sum of their encrypted histograms, which goes back to them."""

    def __init__(self, public_key: str, tally: str) -> None:
        super().__init__(persistor_id="")
        self.public_key, self.tally = public_key, tally

    def run(self) -> None:
        """All three rounds."""
        longest = max(int(answer.params["longest"]) for answer in self._ask({}, 1))
        context = tenseal.context_from(Path(self.public_key).read_bytes())
        parts = self._ask({"longest": longest}, 2)
        total: Any = None
        for part in parts:
            vector = tenseal.bfv_vector_from(context, part.params["histogram"])
            total = vector if total is None else total + vector
        shared = total.serialize()
        done = self._ask({"histogram": shared}, 3)
        sent = sum(len(part.params["histogram"]) for part in parts) + len(shared) * len(done)
        Path(self.tally).write_text(json.dumps({"bytes": sent, "rounds": ROUNDS}), encoding="utf-8")

    def _ask(self, params: dict[str, Any], number: int) -> list[FLModel]:
        model = FLModel(params=params, params_type=ParamsType.FULL, start_round=1, current_round=number,
                        total_rounds=ROUNDS)  # fmt: skip
        answers: list[FLModel] = self.send_model_and_wait(data=model)
        return answers

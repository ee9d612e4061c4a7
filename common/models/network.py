"""common/models: a frozen network whose score is an input of a model that is handed on: all but its weights.

The weights are a member of the model's file (`common.models.archive`), as safetensors, which executes nothing.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from common.study.declarations import as_tuples
from common.study.networks import MAX_SEQUENCES, Network

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

FOLDER = "networks"
"""Where a model's file has the weights of its networks: networks/<name>.safetensors."""


class FrozenNetwork(BaseModel):
    """What scores a patient's ROI stacks, but for the numbers that were learned."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    format: Literal["fedmvi network 1"] = "fedmvi network 1"
    title: str = Field(description="What reports call it.")
    endpoint: str = Field(description="Whose probability its score is, for readers.")
    network: Annotated[Network, BeforeValidator(as_tuples)] = Field(
        description="As the protocol has it; `inference` says how slices become one score."
    )
    sequences: tuple[str, ...] = Field(min_length=1, max_length=MAX_SEQUENCES, description="Its branches, in order.")
    classes: Literal[2, 3] = Field(description="Levels of the endpoint; the score is the sum of all but the lowest.")
    weights: Digest = Field(description="SHA-256 of the member of the file that has its weights.")

    @model_validator(mode="after")
    def _coherent(self) -> FrozenNetwork:
        if self.sequences not in self.network.combinations:
            raise ValueError("its branches are none of the combinations of the protocol")
        if self.network.statistics_stay:
            raise ValueError("a part of its normalisation belongs to one hospital")
        return self

    @property
    def name(self) -> str:
        """Its name in the protocol."""
        return self.network.name

    @property
    def member(self) -> str:
        """The name of its weights in the model's file."""
        return f"{FOLDER}/{self.name}.safetensors"

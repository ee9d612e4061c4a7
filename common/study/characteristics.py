"""common/study: `[characteristics]`: which variables of the patients are described, by cohort and by an endpoint."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from common.study.dictionary import Name

MOST_VARIABLES = 60


class Characteristics(BaseModel):
    """`[characteristics]`: the table of patients' characteristics that a report begins with.

    Every cohort of enough sites for a sum is described, but for those that may share patients with one described
    before. Where endpoints are open, the classes of one are described side by side.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    variables: Annotated[tuple[Name, ...], Field(max_length=MOST_VARIABLES)] = Field(
        default=(),
        description="Variables of the dictionary or of [[variables]], in the order of the table; default: all that "
        "models, analyses, comparisons and subgroups use, but for features of images.",
    )
    by: Name | None = Field(
        default=None, description="A binary endpoint whose classes are described; default: the first binary one."
    )

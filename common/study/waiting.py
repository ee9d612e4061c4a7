"""common/study: what a protocol says of waiting: how long for a site, and what happens when one stays away."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Federation(_Table):
    """`[federation]`: how long a run waits for its sites, and what it does when one stays away."""

    wait_hours: float = Field(
        default=24.0,
        ge=0,
        le=8760,
        description="How long a site that is not connected, or was lost, is waited for before the run stops.",
    )
    deadline_minutes: float = Field(
        default=60.0,
        gt=0,
        le=10080,
        description="Within how many minutes a connected site must have answered a round; rounds of a network have "
        "the `deadline_minutes` of [networks.federation].",
    )
    missing_site: Literal["stop", "leave-out"] = Field(
        default="stop",
        description="What happens when a site stays away longer: the run stops, and may be resumed when the site is "
        "back; or it begins anew over the other sites, and its results name who was left out. That tells the "
        "coordinator what the site had added to the sums until then, so that it needs the site's "
        "`may_be_left_out`. Who was left out once cannot take part later without it.",
    )

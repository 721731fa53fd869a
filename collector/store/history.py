"""A step's own history: how steps of the same name went lately."""

from typing import NamedTuple

import msgspec


class StepName(NamedTuple):
    """What makes two steps comparable."""

    service: str | None
    name: str
    kind: str


class StepHistory(msgspec.Struct, frozen=True):
    """How often steps of one name ran lately, how long they took and how often they failed."""

    count: int
    p50_ms: float
    p95_ms: float
    error_rate: float

"""What a reasoner is given: one execution, the steps to explain, and what is known of their past."""

import msgspec

from collector.model import ExecutionKey, Facts, Record, Step
from collector.store.history import StepHistory, StepName


class Case(msgspec.Struct, kw_only=True):
    """One execution as a reasoner gets it: plain data, assembled, in start order."""

    key: ExecutionKey
    revision: int
    """How many steps and records had come when this was read."""
    facts: Facts
    steps: list[Step]
    """All steps of the execution in start order, with their logs joined."""
    due: frozenset[bytes]
    """Span ids to explain; `EXECUTION_SPAN` stands for the execution itself."""
    history: dict[StepName, StepHistory] = {}
    """How steps of the same name went lately, this execution left out."""
    records: list[Record] = []
    """The execution's log records."""
    events: dict[bytes, str] = {}
    """Span events by span id: JSON text as in `steps.events`, where a span has any."""
    forced: bool = False
    """True where somebody wants a new answer, not a remembered one."""
    asked: bool = False
    """True where a person waits for it."""

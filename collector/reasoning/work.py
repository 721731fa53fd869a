"""What is done with executions that were taken: load, assemble, explain; `settlement.py` writes it all down."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from collector.mapping.assemble import assemble
from collector.mapping.prices import PriceTable
from collector.model import EXECUTION_SPAN, ExecutionKey, Explanation, Step
from collector.reasoning.case import Case
from collector.reasoning.reasoner import Engine, PartialAnswer, ProviderClosed, ReasonerError
from collector.store.asking import ASKED
from collector.store.database import Database
from collector.store.history import Histories, StepHistory, StepName
from collector.store.jobs import SETTLED_OFFSET, Taken
from collector.store.loading import Loaded, load_many
from collector.store.waiting import Outline, look_over
from collector.telemetry import Telemetry

STEPS_AT_ONCE = 2_000
"""Steps of one batch that are in memory together, but for those of a larger execution."""
STEPS_INLINE = 200
"""Executions of more steps are assembled outside of the event loop."""

Past = dict[StepName, StepHistory]


class Outcome(msgspec.Struct):
    """What came of one taking, before it is written down."""

    taken: Taken
    case: Case | None = None
    """None: the execution is gone, or could not be put together."""
    explanations: list[Explanation] = []
    reasons: dict[bytes, str] = {}
    """Why spans that were due were not explained."""
    closed: ProviderClosed | None = None
    """What was not explained waits for this, without an attempt spent."""
    failure: Exception | None = None


def parts(takings: Iterable[Taken], outlines: Mapping[ExecutionKey, Outline]) -> list[list[Taken]]:
    """The takings in parts of a bounded number of steps; one that is large by itself is alone."""
    counts = {key: outline.step_count for key, outline in outlines.items()}
    found: list[list[Taken]] = []
    room = 0
    for taken in sorted(takings, key=lambda taken: counts.get(taken.key, 0)):
        count = counts.get(taken.key, 0)
        if not found or count > room:
            found.append([])
            room = STEPS_AT_ONCE
        found[-1].append(taken)
        room -= count
    return found


class Work:
    """Without loops, leases and writes."""

    def __init__(self, database: Database, engine: Engine | None, telemetry: Telemetry) -> None:
        self.prices: PriceTable | None = None
        self._database = database
        self._engine = engine
        self._telemetry = telemetry
        self._histories = Histories()

    async def look_over(self, takings: Sequence[Taken]) -> dict[ExecutionKey, Outline]:
        """How the executions stand, in one short read."""
        async with self._database.connection() as conn:
            return await look_over(conn, [taken.key for taken in takings])

    async def load(self, takings: Sequence[Taken]) -> list[Outcome]:
        """Read and assemble; what can't be assembled has failed, the others go on."""
        async with self._database.begin() as conn:
            loaded = await load_many(conn, [taken.key for taken in takings])
        past = await self._past(loaded) if self._engine else {}
        outcomes = []
        for taken in takings:
            outcome = Outcome(taken)
            outcomes.append(outcome)
            if taken.key in loaded:
                await self._assemble(outcome, loaded[taken.key], past.get(taken.key.project_id, {}))
        return outcomes

    async def _past(self, loaded: Mapping[ExecutionKey, Loaded]) -> dict[int, Past]:
        """By project, how steps of these names went lately."""
        steps: dict[int, list[Step]] = {}
        for key, one in loaded.items():
            steps.setdefault(key.project_id, []).extend(one.steps)
        async with self._database.connection() as conn:
            return {project: await self._histories.of(conn, project, ours) for project, ours in steps.items()}

    async def _assemble(self, outcome: Outcome, loaded: Loaded, past: Past) -> None:
        try:
            if len(loaded.steps) > STEPS_INLINE:
                steps, facts = await asyncio.to_thread(assemble, loaded.steps, loaded.records, self.prices)
            else:
                steps, facts = assemble(loaded.steps, loaded.records, self.prices)
                await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - one execution's fault must not cost the others of its batch
            self._telemetry.errors.report("assemble", error, trace_id=outcome.taken.key.trace_id.hex())
            outcome.failure = error
            return
        there = {step.span_id for step in steps} | {EXECUTION_SPAN}
        outcome.case = Case(
            key=outcome.taken.key,
            revision=loaded.execution.revision,
            facts=facts,
            steps=steps,
            due=frozenset(span for span in outcome.taken.jobs if span in there),
            history=past,
            records=loaded.records,
            events=loaded.events,
            forced=any(job.forced for job in outcome.taken.jobs.values()),
            asked=any(job.priority % SETTLED_OFFSET == ASKED for job in outcome.taken.jobs.values()),
        )

    async def explain(self, outcome: Outcome) -> None:
        """Ask the reasoner; its errors become part of the outcome."""
        if self._engine is None or outcome.case is None or not outcome.case.due:
            return
        try:
            with self._telemetry.metrics.reasoning_seconds.time():
                outcome.explanations = await self._engine.reasoner.explain(outcome.case)
        except PartialAnswer as answer:
            outcome.explanations, outcome.reasons, outcome.closed = answer.explanations, answer.reasons, answer.closed
        except (ReasonerError, TimeoutError) as error:
            outcome.failure = error
        except Exception as error:  # noqa: BLE001 - whatever a reasoner does, its job ends in a known way
            self._telemetry.errors.report("reasoner", error, trace_id=outcome.taken.key.trace_id.hex())
            outcome.failure = error

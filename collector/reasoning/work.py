"""What is done with executions that were taken: load, assemble, explain, and one transaction that settles it all."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import timedelta
from functools import partial
from random import random
from typing import Any

import msgspec

from collector.errors import LeaseLost, Unavailable, XRayError
from collector.mapping.assemble import assemble
from collector.mapping.prices import PriceTable
from collector.model import EXECUTION_SPAN, ExecutionKey, Explanation, Facts
from collector.reasoning.case import Case
from collector.reasoning.policy import OLDEST_SNOOZED, delays
from collector.reasoning.reasoner import Engine, OverBudget, PartialAnswer, ProviderClosed, ReasonerError, Refused
from collector.store.completion import Finished, Quiet, Result, complete
from collector.store.database import Database
from collector.store.executions import save_facts
from collector.store.jobs import Failure, Taken, fail, give_back, snooze
from collector.store.loading import Loaded, load_many
from collector.store.rollups import Settled, record
from collector.telemetry import Telemetry

STEPS_INLINE = 200
"""Executions of more steps are assembled outside of the event loop."""
LEFT_OUT = "the answer left this step out"
FOR_EVER = timedelta(days=36_500)
AWAY_S = 0.5


class Outcome(msgspec.Struct):
    """What came of one taking, before it is written down."""

    taken: Taken
    loaded: Loaded | None = None
    """None: the execution is gone."""
    facts: Facts | None = None
    case: Case | None = None
    explanations: list[Explanation] = []
    reasons: dict[bytes, str] = {}
    """Why spans that were due were not explained."""
    failure: Exception | None = None


class Work:
    """The steps of the work, without loops and leases."""

    def __init__(
        self, database: Database, engine: Engine | None, quiet: Quiet, most_attempts: int, telemetry: Telemetry
    ) -> None:
        self.prices: PriceTable | None = None
        self._database = database
        self._engine = engine
        self._quiet = quiet
        self._most_attempts = most_attempts
        self._telemetry = telemetry

    async def load(self, takings: Sequence[Taken]) -> list[Outcome]:
        """Read and assemble; what can't be assembled has failed, the others go on."""
        async with self._database.begin() as conn:
            loaded = await load_many(conn, [taken.key for taken in takings])
        return [await self._assemble(Outcome(taken, loaded.get(taken.key))) for taken in takings]

    async def _assemble(self, outcome: Outcome) -> Outcome:
        loaded = outcome.loaded
        if loaded is None:
            return outcome
        try:
            if len(loaded.steps) > STEPS_INLINE:
                steps, facts = await asyncio.to_thread(assemble, loaded.steps, loaded.records, self.prices)
            else:
                steps, facts = assemble(loaded.steps, loaded.records, self.prices)
                await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - one execution's fault must not cost the others of its batch
            self._telemetry.errors.report("assemble", error, trace_id=outcome.taken.key.trace_id.hex())
            outcome.failure = error
            return outcome
        there = {step.span_id for step in steps} | {EXECUTION_SPAN}
        outcome.facts = facts
        outcome.case = Case(
            key=outcome.taken.key,
            revision=loaded.execution.revision,
            facts=facts,
            steps=steps,
            due=frozenset(span for span in outcome.taken.jobs if span in there),
            records=loaded.records,
            events=loaded.events,
            forced=any(job.forced for job in outcome.taken.jobs.values()),
        )
        return outcome

    async def explain(self, outcome: Outcome) -> None:
        """Ask the reasoner; its errors become part of the outcome."""
        if self._engine is None or outcome.case is None or not outcome.case.due:
            return
        try:
            with self._telemetry.metrics.reasoning_seconds.time():
                outcome.explanations = await self._engine.reasoner.explain(outcome.case)
        except PartialAnswer as answer:
            outcome.explanations, outcome.reasons = answer.explanations, answer.reasons
        except (ReasonerError, TimeoutError) as error:
            outcome.failure = error
        except Exception as error:  # noqa: BLE001 - whatever a reasoner does, its job ends in a known way
            self._telemetry.errors.report("reasoner", error, trace_id=outcome.taken.key.trace_id.hex())
            outcome.failure = error

    async def write(self, outcomes: Sequence[Outcome], *, only_settle: bool = False) -> None:
        """Facts, results and the end of the jobs in one transaction; a taking whose lease was lost writes nothing.

        `only_settle`: the jobs wait on, in the lane of the slow reasoner.
        """
        left = sorted(outcomes, key=lambda outcome: outcome.taken.key)
        while left:
            try:
                lost = await self._database.retrying(partial(self._write_once, left, only_settle))
            except Unavailable as error:  # what was found out is worth waiting for, as long as the lease lives
                self._telemetry.errors.report("reasoning_not_written", error)
                await asyncio.sleep(AWAY_S * (0.5 + random()))  # noqa: S311 - jitter
                continue
            except Exception as error:  # noqa: BLE001 - what the database refuses costs its own execution only
                self._telemetry.errors.report("reasoning_refused", error)
                await self._write_each(left, only_settle, error)
                return
            self._telemetry.metrics.lease_lost.inc(len(lost))
            left = [outcome for outcome in left if outcome.taken.key not in lost] if lost else []

    async def _write_each(self, outcomes: Sequence[Outcome], only_settle: bool, error: Exception) -> None:
        if len(outcomes) > 1:
            for outcome in outcomes:
                await self.write([outcome], only_settle=only_settle)
            return
        outcome = outcomes[0]
        if outcome.facts is None:  # it is a failure already, and even that can't be written
            raise error
        await self.write([Outcome(outcome.taken, failure=error)])

    async def _write_once(self, outcomes: Sequence[Outcome], only_settle: bool) -> set[ExecutionKey]:
        try:
            async with self._database.begin() as conn:
                cases = [outcome.case for outcome in outcomes if outcome.case is not None]
                for case in cases:
                    await save_facts(conn, case.key, case.facts, case.revision)
                raw = (await conn.get_raw_connection()).driver_connection
                await record(raw, [Settled(case.key, case.revision, case.steps) for case in cases])
                await self._close_jobs(raw, outcomes, only_settle)
        except _Lost as lost:
            return lost.keys
        return set()

    async def _close_jobs(self, conn: Any, outcomes: Sequence[Outcome], only_settle: bool) -> None:
        kept = [outcome for outcome in outcomes if only_settle and outcome.failure is None and outcome.case]
        rest = [outcome for outcome in outcomes if outcome not in kept]
        ours: set[ExecutionKey] = set()
        if kept:
            ours |= set(await give_back(conn, [outcome.taken for outcome in kept], settled=True))
        finished = [done for outcome in rest if (done := self._finished(outcome))]
        if finished:
            ours |= set(await complete(conn, finished, self._quiet))
        for outcome in rest:
            if await self._fail_rest(conn, outcome):
                ours.add(outcome.taken.key)
        lost = {outcome.taken.key for outcome in outcomes} - ours
        if lost:
            raise _Lost(lost)

    def _finished(self, outcome: Outcome) -> Finished | None:
        if outcome.failure is not None:
            return None
        explained = {one.span_id: one for one in outcome.explanations if one.span_id in outcome.taken.jobs}
        due = outcome.case.due if outcome.case and self._engine else frozenset()
        dropped = [span for span in outcome.taken.jobs if span not in due]
        if not explained and not dropped:
            return None
        return Finished(outcome.taken, [self._result(one, outcome) for one in explained.values()], dropped)

    def _result(self, one: Explanation, outcome: Outcome) -> Result:
        assert self._engine is not None
        assert outcome.case is not None
        # An engine that fell back to the rules says so by naming no model.
        own = one.model is not None or not self._engine.is_slow
        return Result(
            span_id=one.span_id,
            text=one.text.replace("\0", "\ufffd"),
            facts=bytes(one.facts).decode() if one.facts is not None else None,
            root_cause=msgspec.json.encode(one.root_cause).decode() if one.root_cause else None,
            reasoner=self._engine.name if own else "rules",
            model=one.model,
            prompt_version=self._engine.prompt_version if own else None,
            revision=outcome.case.revision,
            tokens_input=one.tokens_input,
            tokens_output=one.tokens_output,
            cost_usd=one.cost_usd,
        )

    async def _fail_rest(self, conn: Any, outcome: Outcome) -> dict[bytes, str]:
        """What was due and has no result; the status of the jobs that were still ours."""
        taken, error = outcome.taken, outcome.failure
        if isinstance(error, ProviderClosed):
            oldest = FOR_EVER if isinstance(error, OverBudget) else OLDEST_SNOOZED
            delay = timedelta(seconds=error.retry_after_s * (1 + 0.2 * random()))  # noqa: S311 - jitter
            return await snooze(conn, taken, delay, oldest, str(error))
        if error is not None:
            return await fail(conn, taken, list(taken.jobs), self._failure(reason_of(error), error))
        explained = {one.span_id for one in outcome.explanations}
        left = [span for span in outcome.case.due if span not in explained] if outcome.case and self._engine else []
        states: dict[bytes, str] = {}
        for reason, spans in _by_reason(left, outcome.reasons).items():
            states |= await fail(conn, taken, spans, self._failure(reason, None))
        return states

    def _failure(self, message: str, error: Exception | None) -> Failure:
        most = 0 if isinstance(error, Refused) else self._most_attempts
        return Failure(message, delays(self._most_attempts, random), most)

    async def return_jobs(self, takings: Collection[Taken]) -> None:
        """Give jobs back as they were: a deploy costs no attempt."""
        if takings:
            async with self._database.connection() as conn, conn.transaction():
                await give_back(conn, takings)


class _Lost(LeaseLost):
    """Takes the transaction back, so that the others of the batch can be written without these."""

    def __init__(self, keys: set[ExecutionKey]) -> None:
        super().__init__("Another worker has these jobs now.")
        self.keys = keys


def reason_of(error: Exception) -> str:
    """An error for the job's row: its text only where it is our own."""
    if isinstance(error, XRayError):
        return str(error)
    return (
        "the reasoner took too long" if isinstance(error, TimeoutError) else f"{type(error).__name__} while explaining"
    )


def _by_reason(spans: Collection[bytes], reasons: dict[bytes, str]) -> dict[str, list[bytes]]:
    groups: dict[str, list[bytes]] = {}
    for span in spans:
        groups.setdefault(reasons.get(span, LEFT_OUT), []).append(span)
    return groups

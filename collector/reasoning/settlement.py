"""One transaction that ends the work on executions: facts, results, and what becomes of the jobs."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from random import random
from typing import Any

import msgspec

from collector.errors import LeaseLost, Unavailable, XRayError
from collector.model import ExecutionKey, Explanation
from collector.reasoning.outage import outlast
from collector.reasoning.policy import OLDEST_SNOOZED, delays, wait_for_root
from collector.reasoning.reasoner import Engine, OverBudget, ProviderClosed, Refused
from collector.reasoning.work import Outcome
from collector.store.completion import Finished, Quiet, Result, complete
from collector.store.database import Database
from collector.store.jobs import FORGETTABLE, Failure, Taken, fail, give_back, snooze
from collector.store.settling import Settled, settle
from collector.store.waiting import Early, Outline, put_off
from collector.telemetry import Telemetry

LEFT_OUT = "the answer left this step out"
FOR_EVER = timedelta(days=36_500)


class Settlement:
    """Writes outcomes down, each under its lease."""

    def __init__(
        self, database: Database, engine: Engine | None, quiet: Quiet, most_attempts: int, telemetry: Telemetry
    ) -> None:
        self._database = database
        self._engine = engine
        self._quiet = quiet
        self._most_attempts = most_attempts
        self._telemetry = telemetry

    async def write(self, outcomes: Sequence[Outcome], *, only_settle: bool = False) -> None:
        """Facts, results and the end of the jobs in one transaction; a taking whose lease was lost writes nothing.

        `only_settle`: the jobs wait on, in the lane of the slow reasoner.
        """
        left = sorted(outcomes, key=lambda outcome: outcome.taken.key)
        while left:
            try:
                lost = await outlast(partial(self._database.retrying, partial(self._write_once, left, only_settle)))
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
        if outcome.case is None:  # it is a failure already, and even that can't be written
            raise error
        await self.write([Outcome(outcome.taken, failure=error)])

    async def _write_once(self, outcomes: Sequence[Outcome], only_settle: bool) -> set[ExecutionKey]:
        cases = [outcome.case for outcome in outcomes if outcome.case is not None]
        settled = [Settled(case.key, case.revision, case.facts, case.steps) for case in cases]
        try:
            async with self._database.connection() as conn, conn.transaction():
                if self._engine is None or not self._engine.is_slow:  # nothing was paid for
                    await conn.execute(FORGETTABLE)
                await settle(conn, settled)
                await self._close_jobs(conn, outcomes, only_settle)
        except _Lost as lost:
            return lost.keys
        return set()

    async def _close_jobs(self, conn: Any, outcomes: Sequence[Outcome], only_settle: bool) -> None:
        kept: list[Outcome] = []
        rest: list[Outcome] = []
        for outcome in outcomes:
            (kept if only_settle and outcome.failure is None and outcome.case else rest).append(outcome)
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
        taken, error = outcome.taken, outcome.failure or outcome.closed
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

    async def put_off(self, takings: Sequence[Taken], outlines: Mapping[ExecutionKey, Outline]) -> list[Taken]:
        """Give executions back whose root may still come, which costs no attempt; returns the others."""
        settle = self._quiet.settle
        waits = {taken.key: wait_for_root(taken, outlines.get(taken.key), settle) for taken in takings}
        early = [Early(taken, waits[taken.key], settle) for taken in takings if waits[taken.key]]
        if early:
            async with self._database.connection() as conn, conn.transaction():
                await put_off(conn, early)
        return [taken for taken in takings if not waits[taken.key]]

    async def return_jobs(self, takings: Collection[Taken]) -> None:
        """Give jobs back as they were: a deploy costs no attempt. Where the database is away, their lease runs out."""
        try:
            async with self._database.connection() as conn, conn.transaction():
                await give_back(conn, takings)
        except Unavailable as error:
            self._telemetry.errors.report("jobs_not_returned", error)


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

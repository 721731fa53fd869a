"""The model reasoner: one question for all due steps of an execution, with the rules' facts as evidence."""

import asyncio
from collections.abc import Sequence

import msgspec

from collector.mapping.prices import PriceTable
from collector.model import Explanation
from collector.reasoning.answer import read
from collector.reasoning.budget import Budget
from collector.reasoning.cache import Cache, Paid
from collector.reasoning.case import Case
from collector.reasoning.context import Chunk, Limits
from collector.reasoning.endpoint import Endpoint, Reply
from collector.reasoning.outage import outlast
from collector.reasoning.own_traces import OwnTraces
from collector.reasoning.policy import is_worth_a_model
from collector.reasoning.prompt import messages
from collector.reasoning.provider import Provider
from collector.reasoning.question import (
    Part,
    Question,
    Use,
    call_step,
    explanation,
    left_of,
    part_of,
    prepare,
    shares,
    split,
    to_remember,
)
from collector.reasoning.reasoner import OverBudget, PartialAnswer, ProviderClosed, ReasonerError
from collector.reasoning.redact import Redactor
from collector.reasoning.rules import Rules
from collector.telemetry import Telemetry

TRIES = 2
"""A part that is missing or malformed in the answer is asked for once more, alone."""
MISSING = "the model's answer left this out, or it could not be read"


class Means(msgspec.Struct, kw_only=True):
    """What the reasoner works with."""

    endpoint: Endpoint
    provider: Provider
    budget: Budget
    cache: Cache
    prices: PriceTable
    telemetry: Telemetry
    traces: OwnTraces = msgspec.field(default_factory=OwnTraces)
    redactor: Redactor | None = None
    limits: Limits = Limits()
    rules_over_budget: bool = False
    """True: what the budget does not pay for is explained by rules instead of waiting."""


class OpenAI:
    """Explains by a model behind an OpenAI-compatible endpoint."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def close(self) -> None:
        """Free the connections; send the traces that are still held."""
        await self._means.endpoint.close()
        await self._means.traces.close()

    async def explain(self, case: Case) -> list[Explanation]:
        if not is_worth_a_model(case):
            return await Rules().explain(case)
        question = await asyncio.to_thread(prepare, case, self._means.redactor)
        found: list[Explanation] = []
        reasons: dict[bytes, str] = {}
        try:
            for chunk in split(question, self._means.limits):
                reasons |= await self._explain_chunk(question, chunk, found)
        except ReasonerError as error:
            left = left_of(question, found)
            if isinstance(error, OverBudget) and self._means.rules_over_budget:
                return found + [question.own[span_id] for span_id in left if span_id in question.own]
            if not found:
                raise
            # What was paid for is kept; what is left waits, or is tried again, by itself.
            closed = error if isinstance(error, ProviderClosed) else None
            raise PartialAnswer(found, dict.fromkeys(left, str(error)), closed) from error
        if reasons:
            raise PartialAnswer(found, reasons)
        return found

    async def _explain_chunk(self, question: Question, chunk: Chunk, found: list[Explanation]) -> dict[bytes, str]:
        """Adds to what was found; returns why some spans stay unexplained."""
        means = self._means
        part = await asyncio.to_thread(part_of, question, chunk, means.limits, means.redactor, means.endpoint.name)
        known = {} if question.case.forced else await outlast(lambda: means.cache.recall(list(part.keys.values())))
        for alias, key in part.keys.items():
            if key in known:
                found.append(explanation(question, part, alias, known[key], Use()))
        asked = [alias for alias, key in part.keys.items() if key not in known]
        for _ in range(TRIES):
            if asked:
                asked = await self._ask(question, part, asked, found)
        return {part.told.ids[alias]: MISSING for alias in asked}

    async def _ask(self, question: Question, part: Part, asked: Sequence[str], found: list[Explanation]) -> list[str]:
        """One call; adds what it explains, returns what it left out."""
        means, project_id = self._means, question.case.key.project_id
        await outlast(lambda: means.budget.check(project_id))
        with means.traces.asking(means.endpoint.model, question.case.key.trace_id) as replies:
            reply = await self._call(messages(part.told.text, asked))
            replies.append(reply)
        cost_usd = self._cost(reply)
        said = read(reply.content, asked)
        fresh = {alias: to_remember(question, part, alias, one, reply.model) for alias, one in said.items()}
        paid = Paid(project_id, reply.tokens_input + reply.tokens_output, cost_usd or 0.0)
        answers = {part.keys[alias]: answer for alias, answer in fresh.items()}
        await outlast(lambda: means.cache.keep(paid, answers))
        for (alias, one), use in zip(said.items(), shares(reply, cost_usd, len(said)), strict=True):
            # With the aliases still in it: their steps are known here.
            answer = msgspec.structs.replace(fresh[alias], said=one)
            found.append(explanation(question, part, alias, answer, use))
        return [alias for alias in asked if alias not in said]

    async def _call(self, asked: Sequence[dict[str, str]]) -> Reply:
        try:
            return await self._means.endpoint.ask(asked)
        except ProviderClosed as closed:
            delay_s, reason = closed.retry_after_s, str(closed)
            self._means.telemetry.errors.report("provider_closed", closed, seconds=round(delay_s, 1))
            await outlast(lambda: self._means.provider.close(delay_s, reason))
            raise

    def _cost(self, reply: Reply) -> float | None:
        metrics = self._means.telemetry.metrics
        metrics.reasoning_tokens.labels("input").inc(reply.tokens_input)
        metrics.reasoning_tokens.labels("output").inc(reply.tokens_output)
        price = self._means.prices.price(call_step(reply))
        if price is not None:
            metrics.reasoning_cost.inc(price.usd)
        return None if price is None else price.usd

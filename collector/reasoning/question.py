"""Between a case and a model: what is asked, under which hash it is remembered, and what an answer becomes: pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import orjson

from collector.model import EXECUTION_SPAN, Explanation, Record, RootCause, Step, StepError, Tokens
from collector.reasoning import rules
from collector.reasoning.answer import Said, cited, named
from collector.reasoning.cache import Remembered, question_hash, step_question
from collector.reasoning.case import Case
from collector.reasoning.cause import Cause, find
from collector.reasoning.context import EXECUTION, Chunk, Context, Limits, chunks, context
from collector.reasoning.endpoint import Reply
from collector.reasoning.evidence import Evidence, gather
from collector.reasoning.prompt import PROMPT_VERSION, SYSTEM
from collector.reasoning.redact import Redactor

NO_CAUSE = -2


class Question(msgspec.Struct):
    """One execution under way: what is known of it, and what the rules say, whose facts go with the model's text."""

    case: Case
    evidence: Evidence
    cause: Cause | None
    own: dict[bytes, Explanation]
    names: dict[bytes, str]
    """What a reader knows each step by."""


class Part(msgspec.Struct):
    """What one call or more explain of it."""

    told: Context
    keys: dict[str, bytes]
    """By alias: the hash of all that is asked."""


class Use(msgspec.Struct, frozen=True):
    """What one explanation has taken."""

    tokens_input: int = 0
    tokens_output: int = 0
    cost_usd: float | None = None


def prepare(case: Case, redactor: Redactor | None) -> Question:
    """Everything that is found out before a model is asked; secrets are gone from here on."""
    if redactor is not None:
        case = _redacted(case, redactor)
    evidence = gather(case)
    own = {explanation.span_id: explanation for explanation in rules.explain(case)}
    names = {step.span_id: step.name for step in case.steps} | {EXECUTION_SPAN: EXECUTION}
    return Question(case, evidence, find(evidence), own, names)


def split(question: Question, limits: Limits) -> list[Chunk]:
    return chunks(question.evidence, limits)


def part_of(question: Question, chunk: Chunk, limits: Limits, redactor: Redactor | None, asked_of: str) -> Part:
    """The text and the hashes for one chunk, as asked of one model at one endpoint."""
    told = context(question.evidence, question.cause, chunk, limits)
    if redactor is not None:  # each line by itself: what looks like a key's beginning must not eat the rest
        told.text = "\n".join(redactor.text(line) for line in told.text.split("\n"))
    aliases = {span_id: alias for alias, span_id in told.ids.items()}
    cause = question.cause.position if question.cause else NO_CAUSE
    same = (question.case.key.project_id, asked_of, PROMPT_VERSION, limits)
    steps = question.evidence.flow.steps
    keys = {
        aliases[steps[position].span_id]: question_hash(*same, step_question(question.evidence, position, cause))
        for position in chunk.due
    }
    if chunk.has_execution:
        keys[EXECUTION] = question_hash(*same, SYSTEM, told.text)
    return Part(told, keys)


def to_remember(question: Question, part: Part, alias: str, said: Said, model: str) -> Remembered:
    """A step's answer without aliases, so that it holds in another execution, too."""
    cites = cited(said.text)
    if alias != EXECUTION:
        names = {one: question.names[part.told.ids[one]] for one in cites if one in part.told.ids}
        said = msgspec.structs.replace(said, text=named(said.text, names))
    return Remembered(said, model)


def explanation(question: Question, part: Part, alias: str, answer: Remembered, use: Use) -> Explanation:
    """The answer with names for aliases, and with the rules' facts behind it."""
    span_id, said, ids = part.told.ids[alias], answer.said, part.told.ids
    own = question.own.get(span_id)
    cites = [one for one in cited(said.text) if one in ids]
    return Explanation(
        span_id=span_id,
        text=named(said.text, {one: question.names[ids[one]] for one in cites}),
        facts=_facts(own, [ids[one].hex() for one in cites]),
        root_cause=_root_cause(said, ids, own) if alias == EXECUTION else None,
        model=answer.model,
        tokens_input=use.tokens_input,
        tokens_output=use.tokens_output,
        cost_usd=use.cost_usd,
    )


def left_of(question: Question, found: Sequence[Explanation]) -> frozenset[bytes]:
    """What is due and not explained yet."""
    return question.case.due - {one.span_id for one in found}


def shares(reply: Reply, cost_usd: float | None, count: int) -> list[Use]:
    """What a call has taken, dealt out evenly over what it explained; the sum is exact."""

    def dealt(total: int) -> list[int]:
        each, rest = divmod(total, max(count, 1))
        return [each + (number < rest) for number in range(count)]

    cost = None if cost_usd is None else cost_usd / max(count, 1)
    counts = zip(dealt(reply.tokens_input), dealt(reply.tokens_output), strict=True)
    return [Use(given, taken, cost) for given, taken in counts]


def call_step(reply: Reply) -> Step:
    """The call as a step, so that it has the price of one."""
    tokens = Tokens(input=reply.tokens_input, output=reply.tokens_output, cached=reply.tokens_cached)
    values: dict[str, Any] = dict.fromkeys(Step.__struct_fields__)
    values |= {"span_id": b"", "name": "explain", "kind": "llm", "span_kind": 3, "status": "ok", "start_ns": 0}
    return Step(**values | {"model": reply.model, "tokens": tokens, "warnings": []})


def _root_cause(said: Said, ids: Mapping[str, bytes], own: Explanation | None) -> RootCause | None:
    """The step that the model names; the rules' own word where it names one that is not there."""
    if said.cause_alias is None:
        return None
    if said.cause_alias in ids and said.cause_alias != EXECUTION:
        return RootCause(ids[said.cause_alias].hex(), round(said.confidence, 2), said.evidence)
    return own.root_cause if own else None


def _facts(own: Explanation | None, cites: Sequence[str]) -> msgspec.Raw | None:
    facts: dict[str, Any] = orjson.loads(bytes(own.facts)) if own and own.facts is not None else {}
    if cites:
        facts["cites"] = list(dict.fromkeys([*facts.get("cites", []), *cites]))
    return msgspec.Raw(orjson.dumps(facts)) if facts else None


def _redacted(case: Case, redactor: Redactor) -> Case:
    return msgspec.structs.replace(
        case,
        steps=[_redacted_step(step, redactor, is_due=step.span_id in case.due) for step in case.steps],
        records=[_redacted_record(record, redactor) for record in case.records],
        events={span_id: redactor.json(text) for span_id, text in case.events.items()},
    )


def _redacted_step(step: Step, redactor: Redactor, *, is_due: bool) -> Step:
    """Names and errors of every step are shown, what it took in and gave only where it is to be explained."""
    error = step.error
    if error is not None and error.message:
        error = StepError(error.type, redactor.text(error.message), None)
    replaced = msgspec.structs.replace(step, name=redactor.text(step.name), error=error)
    if is_due:
        replaced.input = step.input and redactor.json(step.input)
        replaced.output = step.output and redactor.json(step.output)
    return replaced


def _redacted_record(record: Record, redactor: Redactor) -> Record:
    return msgspec.structs.replace(record, body=record.body and redactor.json(record.body))

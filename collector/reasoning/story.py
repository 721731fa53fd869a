"""A whole execution in two to six plain sentences, and the facts behind them."""

from collections import Counter

import msgspec

from collector.mapping.tree import TOP
from collector.reasoning import wording
from collector.reasoning.cause import Cause
from collector.reasoning.evidence import Evidence
from collector.reasoning.facts import MOST_CITED, History, hexed, history_of
from collector.reasoning.flow import OUTSIDE
from collector.reasoning.suspects import dominant
from collector.reasoning.telling import given, taken
from collector.reasoning.wording import (
    brief,
    count,
    described,
    duration,
    failed_with,
    money,
    percent,
    quoted,
    sentence,
    shown,
)

KIND_NOUNS = {
    "llm": "model call",
    "tool": "tool call",
    "retriever": "search",
    "embedding": "embedding",
    "agent": "agent run",
    "http": "request",
    "db": "query",
    "rpc": "remote call",
    "messaging": "message",
}
HOT_SHARE = 0.5
CHATTY = 10
NOTABLE_TIME = 0.3


class ExecutionFacts(msgspec.Struct, omit_defaults=True):
    """What is known of a whole execution; what is absent is none or not known."""

    status: str
    duration_ms: float
    steps: int
    kinds: dict[str, int] = {}
    errors: int = 0
    recovered: int = 0
    told_errors: int = 0
    """Results that are errors although no status says so."""
    empty_outputs: int = 0
    repeated: int = 0
    """The longest row of the same work with the same input."""
    history: History | None = None
    slowest: str | None = None
    """The deepest step that accounts for most of the time."""
    slowest_share: float | None = None
    costliest: str | None = None
    costliest_share: float | None = None
    tokens_input: int | None = None
    tokens_output: int | None = None
    cost_usd: float | None = None
    cause_sign: str | None = None
    """What kind of fault the root cause is."""
    failed_in: str | None = None
    """The step that failed openly because of it."""
    cites: list[str] = []


def execution_facts(evidence: Evidence, cause: Cause | None) -> ExecutionFacts:
    flow, readings, case = evidence.flow, evidence.readings, evidence.case
    facts = ExecutionFacts(
        status=case.facts.status,
        duration_ms=round(flow.total_ns / 1e6, 3),
        steps=len(flow.steps),
        kinds=dict(Counter(step.kind for step in flow.steps).most_common()),
        errors=sum(reading.error is not None for reading in readings),
        recovered=sum(flow.recovered),
        told_errors=sum(reading.told_error is not None for reading in readings),
        empty_outputs=sum(reading.empty for reading in readings),
        repeated=max((len(group) for group in flow.repeats.values()), default=0),
        cost_usd=case.facts.cost_usd,
    )
    if case.facts.tokens:
        facts.tokens_input, facts.tokens_output = case.facts.tokens.input, case.facts.tokens.output
    if flow.root != TOP:
        facts.history = history_of(readings[flow.root])
        slowest = dominant(evidence, flow.root)
        facts.slowest, facts.slowest_share = hexed(evidence, slowest), round(flow.share(slowest), 4)
    _add_costliest(facts, evidence)
    _add_cause(facts, evidence, cause)
    return facts


def _add_costliest(facts: ExecutionFacts, evidence: Evidence) -> None:
    calls = [(_used(evidence, place), place) for place, step in enumerate(evidence.flow.steps) if step.kind == "llm"]
    used, place = max(calls, default=(0, TOP))
    if used and evidence.tokens_total >= used:
        facts.costliest, facts.costliest_share = hexed(evidence, place), round(used / evidence.tokens_total, 4)


def _used(evidence: Evidence, position: int) -> int:
    tokens = evidence.flow.steps[position].tokens
    return (tokens.input or 0) + (tokens.output or 0) if tokens else 0


def _add_cause(facts: ExecutionFacts, evidence: Evidence, cause: Cause | None) -> None:
    cited = []
    if cause is not None:
        facts.cause_sign = cause.sign
        cited.append(cause.position)
        if cause.failure not in (TOP, cause.position):
            facts.failed_in = hexed(evidence, cause.failure)
            cited.append(cause.failure)
    facts.cites = list(dict.fromkeys([hexed(evidence, place) for place in cited] + [facts.slowest or ""]))[:MOST_CITED]
    facts.cites = [cite for cite in facts.cites if cite]


def tell_execution(evidence: Evidence, facts: ExecutionFacts, cause: Cause | None) -> str:
    """How it went, what went wrong first, what was made good, where time and money went."""
    parts = [
        _course(evidence, facts),
        _cause(evidence, cause),
        _made_good(evidence, facts),
        _survived(evidence, cause),
        _time(evidence, facts),
        _chatty(evidence),
        _cost(evidence, facts),
    ]
    return " ".join(sentence(part) for part in parts if part)


def _course(evidence: Evidence, facts: ExecutionFacts) -> str:
    flow, case = evidence.flow, evidence.case
    name = f"the execution {brief(case.facts.name, 80)}".rstrip()
    took = duration(flow.total_ns)
    parts = [
        count(number, KIND_NOUNS[kind], "queries" if kind == "db" else "searches" if kind == "retriever" else None)
        for kind, number in facts.kinds.items()
        if kind in KIND_NOUNS
    ]
    made = count(len(flow.steps), "step")
    if parts:
        is_all = KIND_NOUNS.keys() >= facts.kinds.keys()
        made += f" ({wording.listed(parts, 6)})" if is_all else f", among them {wording.listed(parts, 6)}"
    if flow.root == TOP:
        return f"{name} has {made}"
    root, reading = flow.steps[flow.root], evidence.readings[flow.root]
    about = f" for {taken(root.input, 100)}" if root.input and root.kind != "http" else ""
    if reading.error is not None:
        return f"{name}{about} failed after {took} and {made}: {quoted(reading.error)}"
    outcome = _outcome(evidence)
    comma = "," if outcome and ", among" in made else ""
    return f"{name}{about} ran {took} with {made}{comma}{outcome}"


def _outcome(evidence: Evidence) -> str:
    root = evidence.flow.steps[evidence.flow.root]
    text = evidence.case.facts.final_outcome or root.output
    if text is None:
        return ""
    if root.kind == "http":
        return f" and answered {shown(text, 40)}"
    return f" and ended with {given(text, 140)}"


def _cause(evidence: Evidence, cause: Cause | None) -> str:
    if cause is None:
        return ""
    flow = evidence.flow
    where, whole = described(flow.steps[cause.position]), evidence.readings[flow.root].error
    words = f"it went wrong first in {where}: {cause.because[0]}"
    if whole and cause.because[0] == failed_with(whole):
        words = f"it went wrong first in {where}, where this error comes from"
    if cause.failure in (TOP, cause.position, flow.root):
        return words
    failed = described(flow.steps[cause.failure])
    if failed == where:  # another attempt
        return f"{words}; those after it failed, too" if cause.sign == "retry" else words
    told = evidence.readings[cause.failure].error or ""
    words = f"{words}. Because of that {failed} failed"
    return words if told == whole else f"{words}: {quoted(told)}"


def _made_good(evidence: Evidence, facts: ExecutionFacts) -> str:
    if not facts.recovered:
        return ""
    names = [described(evidence.flow.steps[place]) for place, fine in enumerate(evidence.flow.recovered) if fine]
    what = wording.listed(list(dict.fromkeys(names)), 3)
    were = "was" if facts.recovered == 1 else "were"
    return f"{count(facts.recovered, 'failed attempt')} of {what} {were} made good by a retry"


def _survived(evidence: Evidence, cause: Cause | None) -> str:
    """Failures that the execution went on without."""
    flow, readings = evidence.flow, evidence.readings
    if flow.root == TOP or readings[flow.root].error:
        return ""
    left = [
        place
        for place, reading in enumerate(readings)
        if reading.error
        and not flow.recovered[place]
        and (cause is None or place not in (cause.position, cause.failure))
    ]
    left = [place for place in left if not any(readings[child].error for child in flow.children[place])]
    if not left:
        return ""
    names = wording.listed(list(dict.fromkeys(described(flow.steps[place]) for place in left)), 3)
    return f"it went on after {count(len(left), 'failure')}, in {names}"


def _time(evidence: Evidence, facts: ExecutionFacts) -> str:
    flow = evidence.flow
    if flow.root == TOP:
        return ""
    parts = []
    slowest = dominant(evidence, flow.root)
    if slowest != flow.root:
        parts.append(f"{percent(flow.share(slowest))} of the time went into {described(flow.steps[slowest])}")
    past = evidence.readings[flow.root].history
    if past is not None and evidence.readings[flow.root].slower:
        parts.append(f"the execution usually takes {duration(past.p50_ms * 1e6)} ({count(past.count, 'run')})")
    return "; ".join(parts)


def _chatty(evidence: Evidence) -> str:
    """Many alike small steps below one parent, together a good part of the time."""
    flow, words, most = evidence.flow, "", NOTABLE_TIME
    for parent, children in enumerate(flow.children):
        if len(children) < CHATTY:
            continue
        alike = Counter((flow.steps[child].kind, flow.steps[child].name) for child in children)
        (kind, name), number = alike.most_common(1)[0]
        if number < CHATTY or kind not in OUTSIDE:
            continue
        took = sum(flow.ends[c] - flow.steps[c].start_ns for c in children if flow.steps[c].name == name)
        if took / flow.total_ns >= most:
            most = took / flow.total_ns
            noun = count(number, KIND_NOUNS[kind], "queries" if kind == "db" else None)
            words = f"{described(flow.steps[parent])} made {noun} named {brief(name, 60)}, together {duration(took)}"
    return words


def _cost(evidence: Evidence, facts: ExecutionFacts) -> str:
    if not evidence.tokens_total:
        return ""
    words = f"it used {count(evidence.tokens_total, 'token')}"
    if facts.cost_usd is not None:
        words += f" for {money(facts.cost_usd)}"
    calls = facts.kinds.get("llm", 0)
    if calls > 1 and (facts.costliest_share or 0) >= HOT_SHARE and facts.costliest:
        span_id = bytes.fromhex(facts.costliest)
        step = next(step for step in evidence.flow.steps if step.span_id == span_id)
        words += f", {percent(facts.costliest_share or 0)} of them in {described(step)}"
    return words

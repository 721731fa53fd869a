"""A step in one to four plain sentences, from what was read of it."""

from collector.mapping.tree import TOP
from collector.model import Step
from collector.reasoning import wording
from collector.reasoning.cause import Cause
from collector.reasoning.content import arguments, parse, said, unwrapped, written
from collector.reasoning.evidence import SERVED, Evidence, Reading
from collector.reasoning.facts import error_origin
from collector.reasoning.messages import asked, is_conversation
from collector.reasoning.wording import brief, described, quoted, sentence, shown

ARGUMENT_CHARS = 40
HOT_SHARE = 0.5
HOT_TOKENS = 2_000
NOTABLE_SHARE = 0.01
PRODUCER, CONSUMER = 4, 5


def tell(evidence: Evidence, position: int, cause: Cause | None) -> str:
    """What the step did, how long it took, what went wrong, and what came of it."""
    parts = [
        _deed(evidence, position),
        _time(evidence, position),
        _faults(evidence, position),
        _repetition(evidence, position),
        _consequence(evidence, position, cause),
    ]
    return " ".join(sentence(part) for part in parts if part)


# What it did.


def _deed(evidence: Evidence, position: int) -> str:
    step, reading = evidence.flow.steps[position], evidence.readings[position]
    if step.kind == "llm":
        return _asked_model(step, reading)
    if step.kind == "agent":
        return _agent(evidence, position)
    if step.kind == "tool":
        return f"it called the tool {brief(step.tool or step.name, 80)}{_given(step)}{_returned(step, reading)}"
    if step.kind == "retriever":
        return _search(step, reading)
    if step.kind == "http" and step.input:
        return _request(step)
    if step.kind == "db":
        return (
            f"it ran the query {shown(step.input)}" if step.input else f"it ran the database step {wording.name(step)}"
        )
    return _plain(step, reading)


def _asked_model(step: Step, reading: Reading) -> str:
    model = step.model or wording.name(step)
    words = f"it asked {model} {quoted(reading.asked)}" if reading.asked else f"it called {model}"
    answer = reading.said.text.strip()
    if reading.said.calls:
        calls = [_call(call.name, call.arguments) for call in reading.said.calls]
        words += f", which asked for {wording.listed(calls, 3)}"
    elif answer:
        words += f" and got {quoted(answer)}"
    use = _use(step)
    return f"{words} ({use})" if use else words


def _call(name: str, given: str) -> str:
    named = arguments(given)
    if not named:
        return f"{name}()" if named is not None else f"{name}({brief(given, ARGUMENT_CHARS)})"
    return f"{name}({_named(named)})"


def _named(named: dict[str, object]) -> str:
    pairs = [f"{key}={_value(value)}" for key, value in list(named.items())[:4]]
    return ", ".join(pairs) + (", …" if len(named) > 4 else "")


def _value(value: object) -> str:
    return quoted(value, ARGUMENT_CHARS) if isinstance(value, str) else brief(written(value), ARGUMENT_CHARS)


def _use(step: Step) -> str:
    parts = []
    if step.tokens and step.tokens.input is not None:
        parts.append(f"{wording.count(step.tokens.input, 'token')} in")
    if step.tokens and step.tokens.output is not None:
        parts.append(f"{step.tokens.output:,} out")
    if step.cost_usd is not None:
        parts.append(wording.money(step.cost_usd))
    return ", ".join(parts)


def _agent(evidence: Evidence, position: int) -> str:
    step, reading = evidence.flow.steps[position], evidence.readings[position]
    words = f"the agent {wording.agent_name(step)} worked"
    if step.input:
        words += f" on {taken(step.input, 140)}"
    below = len(evidence.flow.children[position])
    if below:
        words += f" in {wording.count(below, 'step')}"
    answer = reading.said.text.strip()
    return f"{words} and answered {quoted(answer)}" if answer else words


def taken(text: str, most: int) -> str:
    """What went in: the question of a conversation, else the value itself."""
    value = parse(text)
    return _readable(asked(value) if is_conversation(value) else unwrapped(value), most)


def given(text: str, most: int) -> str:
    """What came out: the answer of a conversation, else the value itself, without its transport's wrapping."""
    value = parse(text)
    if not is_conversation(value):
        return _readable(unwrapped(value), most)
    answer = said(value)
    return (
        quoted(answer.text, most)
        if answer.text
        else wording.listed([call.name for call in answer.calls] or ["nothing"])
    )


def _readable(value: object, most: int) -> str:
    return quoted(value, most) if isinstance(value, str) else brief(written(value), most)


def _given(step: Step) -> str:
    if not step.input:
        return ""
    named = arguments(parse(step.input))
    if named is None:
        return f" with {shown(step.input, 80)}"
    return f" with {_named(named)}" if named else " without arguments"


def _returned(step: Step, reading: Reading) -> str:
    if step.output is None or reading.told_error or reading.empty:
        return ""
    items = f"{wording.count(reading.found, 'item')}: " if reading.found and reading.found > 1 else ""
    return f", which returned {items}{given(step.output, 100)}"


def _search(step: Step, reading: Reading) -> str:
    words = f"it ran the search {wording.name(step)}"
    if step.input:
        words = f"it searched for {taken(step.input, 140)}"
    if reading.found:
        return f"{words} and found {wording.count(reading.found, 'document')}"
    return words


def _request(step: Step) -> str:
    what = brief((step.input or "").strip('"'), 160)
    status = step.output.strip('"') if step.output and len(step.output) < 12 else ""
    if step.span_kind == SERVED:
        who = f"the service {step.service}" if step.service else "it"
        return f"{who} answered {what}" + (f" with status {status}" if status else "")
    return f"it sent {what}" + (f" and got status {status}" if status else "")


def _plain(step: Step, reading: Reading) -> str:
    verb = {PRODUCER: "sent", CONSUMER: "took in"}.get(step.span_kind) if step.kind == "messaging" else None
    if verb:
        return f"it {verb} {shown(step.input) if step.input else wording.name(step)}"
    kind = "" if step.kind in ("other", "function") else f"{step.kind} "
    words = f"the {kind}step {wording.name(step)} ran"
    if step.input:
        words += f" with {taken(step.input, 80)}"
    if step.output is None or reading.empty or reading.told_error:
        return words
    if reading.found is not None and reading.found > 1:
        return f"{words} and gave {wording.count(reading.found, 'item')}"
    return f"{words} and gave {given(step.output, 80)}"


# How long it took.


def _time(evidence: Evidence, position: int) -> str:
    flow, reading = evidence.flow, evidence.readings[position]
    step = flow.steps[position]
    if step.duration_ns is None:
        return "its end is not known"
    words = f"it took {wording.duration(step.duration_ns)}"
    share = flow.share(position)
    if position != flow.root and share >= NOTABLE_SHARE:
        words += f", {wording.percent(share)} of the execution"
    return words + _against_past(step, reading) + _hot(evidence, position)


def _against_past(step: Step, reading: Reading) -> str:
    past = reading.history
    if past is None:
        return ""
    usual = wording.duration(past.p50_ms * 1e6)
    if reading.slower:
        factor = wording.times((step.duration_ns or 0) / 1e6 / max(past.p50_ms, 0.001))
        return f": {factor} its usual {usual} over {wording.count(past.count, 'run')}"
    if (step.duration_ns or 0) / 1e6 > past.p95_ms:
        return f", more than 95% of its {past.count:,} past runs (usually {usual})"
    return f" (usually {usual})"


def _hot(evidence: Evidence, position: int) -> str:
    """A model call that used most of the tokens of several."""
    step, total = evidence.flow.steps[position], evidence.tokens_total
    if step.kind != "llm" or step.tokens is None or not total:
        return ""
    used = (step.tokens.input or 0) + (step.tokens.output or 0)
    if used < HOT_TOKENS or not HOT_SHARE <= used / total < 1:
        return ""
    return f", and used {wording.percent(used / total)} of all tokens"


# What went wrong.


def _faults(evidence: Evidence, position: int) -> str:
    reading = evidence.readings[position]
    found = [words for words in (_failed(evidence, position), _silent(evidence, position)) if words]
    if reading.log_error:
        found.append(f"it logged the error {quoted(reading.log_error)}")
    return "; ".join(found)


def _failed(evidence: Evidence, position: int) -> str:
    reading, flow = evidence.readings[position], evidence.flow
    if reading.error is None:
        return ""
    words = f"it failed: {quoted(reading.error)}"
    origin = error_origin(evidence, position)
    if origin != TOP:
        words += f", which came from {described(flow.steps[origin])}"
    if flow.recovered[position]:
        return f"{words}; a later attempt worked"
    parent = flow.parent(position)
    if parent != TOP and evidence.readings[parent].error is None and flow.went_on(position):
        return f"{words}; {described(flow.steps[parent])} went on without it"
    return words


def _silent(evidence: Evidence, position: int) -> str:
    reading, step = evidence.readings[position], evidence.flow.steps[position]
    if reading.told_error:
        status = "its status is ok" if step.status == "ok" else "no status says so"
        return f"its result is an error although {status}: {quoted(reading.told_error)}"
    if reading.refused:
        return "the model refused to do what it was asked"
    if reading.cut:
        return "the answer was cut off at the token limit"
    if reading.empty:
        return "it found nothing" if step.kind == "retriever" else "its result was empty"
    return ""


# What came of it.


def _consequence(evidence: Evidence, position: int, cause: Cause | None) -> str:
    if cause is None:
        return ""
    if cause.position == position:
        return _as_cause(evidence, cause)
    earlier = described(evidence.flow.steps[cause.position])
    if cause.failure != position or position == evidence.flow.root:
        return ""
    return f"the cause lies earlier, in {earlier}" if earlier != described(evidence.flow.steps[position]) else ""


def _repetition(evidence: Evidence, position: int) -> str:
    flow = evidence.flow
    place, total = flow.places.get(position, (0, 0))
    before = flow.retry_of[position]
    if before != TOP:
        told = evidence.readings[before].error or evidence.readings[before].told_error or ""
        return f"this was attempt {place + 1} of {total}, after one that failed with {quoted(told, 80)}"
    if total > 2 and flow.steps[position].input is not None:
        return f"the same was done {total:,} times with the same input"
    return ""


def _as_cause(evidence: Evidence, cause: Cause) -> str:
    words = "this is where the execution went wrong first"
    if cause.failure in (TOP, cause.position):
        return words
    failed = described(evidence.flow.steps[cause.failure])
    if failed == described(evidence.flow.steps[cause.position]):  # another attempt
        return words
    return f"{words}: it made {failed} fail"

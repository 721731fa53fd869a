"""What one question an execution saves against one question a step: tokens asked, on executions of many kinds.

Tokens are counted as four characters each, which no tokenizer agrees with to the digit and all agree with in ratios.
"""

import argparse
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from collector.mapping.assemble import assemble
from collector.model import EXECUTION_SPAN, ExecutionKey
from collector.reasoning.case import Case
from collector.reasoning.context import Limits
from collector.reasoning.policy import worth_explaining
from collector.reasoning.prompt import messages
from collector.reasoning.question import part_of, prepare, split
from tests.causes.labelled import labelled
from tests.unit.mapping.judge import NAMES, requests
from tests.unit.mapping.shapes import record_of, step_of
from tests.unit.mapping.test_recordings import rows_of

CHARS_A_TOKEN = 4


class Asked(NamedTuple):
    explained: int
    calls: int
    tokens: float

    @property
    def each(self) -> float:
        return self.tokens / max(self.explained, 1)


def asked(cases: Iterable[Case], limits: Limits) -> Asked:
    """What it takes to have all of these explained."""
    explained = calls = chars = 0
    for case in cases:
        question = prepare(case, None)
        explained += len(case.due)
        for chunk in split(question, limits):
            part = part_of(question, chunk, limits, None, "model")
            chars += sum(len(message["content"]) for message in messages(part.told.text, list(part.keys)))
            calls += 1
    return Asked(explained, calls, chars / CHARS_A_TOKEN)


def compare(cases: Sequence[Case]) -> tuple[Asked, Asked]:
    """Together, and a step at a time."""
    return asked(cases, Limits()), asked(cases, msgspec.structs.replace(Limits(), due=1))


def synthetic() -> list[Case]:
    return [one.case for one in labelled("development")]


def recorded() -> list[Case]:
    """The recorded executions that a model, an agent or a tool took part in, with what policy explains of them."""
    cases = []
    for name in NAMES:
        steps, records = rows_of(requests(name))
        for trace_id in sorted({step.trace_id for step in steps.values()}):
            own = [step_of(step) for step in steps.values() if step.trace_id == trace_id]
            told = [record_of(record) for record in records.values() if record.trace_id == trace_id]
            whole, facts = assemble(own, told)
            due = worth_explaining(whole) | {EXECUTION_SPAN}
            if len(due) > 2:
                key = ExecutionKey(1, trace_id)
                cases.append(Case(key=key, revision=1, facts=facts, steps=whole, due=frozenset(due), records=told))
    return cases


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench tokens", description=__doc__)
    parser.parse_args(arguments)
    for name, cases in (("synthetic executions", synthetic()), ("recordings", recorded())):
        together, alone = compare(cases)
        print(
            f"{name}: {len(cases)} executions, {together.explained / len(cases):.1f} explanations each; "
            f"{together.each:.0f} tokens an explanation together, {alone.each:.0f} a step at a time: "
            f"{together.each / alone.each:.2f} (at most 0.40)"
        )

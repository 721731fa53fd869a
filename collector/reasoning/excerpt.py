"""What a step took in and gave, as bounded readable text for a model: pure.

A conversation becomes `role: text`, an answer its text and calls; what was shown before is only pointed at.
"""

import msgspec
import orjson

from collector.model import Step
from collector.reasoning import wording
from collector.reasoning.content import parse, said, unwrapped, written
from collector.reasoning.messages import conversation, is_conversation

POINTED_AT = 60
"""Longer texts are shown once."""


class Shown(msgspec.Struct):
    """Texts that a model was shown already, and where: wrappers and histories repeat them."""

    where: dict[str, str] = {}

    def point(self, text: str, place: str) -> str | None:
        """Where the text stands already; if nowhere, it does so from now on, at `place`."""
        if len(text) <= POINTED_AT:
            return None
        known = self.where.setdefault(text, place)
        return None if known == place else f"the same as {known}"


def taken_in(step: Step, most: int, shown: Shown, alias: str) -> str:
    """A step's input."""
    text = step.input or ""
    pointer = shown.point(text, f"in of {alias}")
    if pointer:
        return pointer
    value = parse(text)
    turns = conversation(value)
    if turns:
        return _turns([(role, shown.point(turn, f"in of {alias}") or turn) for role, turn in turns], most)
    return _plain(unwrapped(value), most, shown, f"in of {alias}")


def given_out(step: Step, most: int, shown: Shown, alias: str) -> str:
    """A step's output."""
    text = step.output or ""
    pointer = shown.point(text, f"out of {alias}")
    if pointer:
        return pointer
    value = parse(text)
    if step.kind != "llm" and not is_conversation(value):
        return _plain(unwrapped(value), most, shown, f"out of {alias}")
    answer = said(value)
    calls = [f"calls {call.name}({call.arguments})" for call in answer.calls]
    return _plain("\n".join([*([answer.text] if answer.text else []), *calls]) or text, most, shown, f"out of {alias}")


def _plain(value: object, most: int, shown: Shown, place: str) -> str:
    text = written(value)
    return shown.point(text, place) or head_and_tail(text, most)


def _turns(turns: list[tuple[str, str]], most: int) -> str:
    """The first message in short and as many of the last ones as fit: what they hold decides the next step."""
    written = [f"{role}: {head_and_tail(text, most // 2)}" for role, text in turns]
    kept: list[str] = []
    room = most
    for turn in reversed(written):
        if kept and len(turn) > room:
            break
        kept.append(turn)
        room -= len(turn)
    kept.reverse()
    left = len(written) - len(kept)
    if not left:
        return "\n".join(kept)
    gap = [f"… {wording.count(left - 1, 'message')} …"] if left > 1 else []
    return "\n".join([head_and_tail(written[0], most // 6), *gap, *kept])


def quoted_line(text: str, most: int) -> str:
    """As a JSON string on one line, bounded."""
    return orjson.dumps(head_and_tail(text, most)).decode()


def head_and_tail(text: str, most: int) -> str:
    """The text, or two thirds of `most` from its head and a third from its tail, with what is left out counted."""
    if len(text) <= most:
        return text
    tail = most // 3
    head = most - tail
    return f"{text[:head]} …[{len(text) - head - tail:,} characters left out]… {text[-tail:]}"

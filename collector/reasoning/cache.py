"""Equal questions are paid for once: answers by the hash of all that was asked, across executions of a project."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import orjson

from collector.mapping.tree import TOP
from collector.model import Step
from collector.reasoning.answer import Said
from collector.reasoning.evidence import Evidence
from collector.store.database import Database
from collector.store.spending import book, recall, remember


class Remembered(msgspec.Struct, frozen=True):
    """An answer as it is kept: without aliases in a step's text, so that it holds in another execution, too."""

    said: Said
    model: str


class Paid(NamedTuple):
    """What one call has cost."""

    project_id: int
    tokens: int
    cost_usd: float


class Cache:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def recall(self, questions: Sequence[bytes]) -> dict[bytes, Remembered]:
        async with self._database.connection() as conn:
            found = await recall(conn, questions)
        return {question: msgspec.json.decode(answer, type=Remembered) for question, answer in found.items()}

    async def keep(self, paid: Paid, answers: Mapping[bytes, Remembered]) -> None:
        """Book a call and remember what it answered, both or neither: a call is paid for, whatever comes next."""
        encoded = {key: msgspec.json.encode(answer).decode() for key, answer in answers.items()}
        async with self._database.connection() as conn, conn.transaction():
            await remember(conn, encoded)
            await book(conn, paid.project_id, paid.tokens, paid.cost_usd)


def question_hash(*parts: Any) -> bytes:
    return hashlib.sha256(orjson.dumps(parts, default=_plain)).digest()


def step_question(evidence: Evidence, position: int, cause: int) -> list[Any]:
    """All that an answer about a step depends on: itself, what it was given and gave, and its neighbours in the tree.

    Durations and shares are rounded to what an explanation says of them, ids and times are left out: the same work done
    again asks the same question.
    """
    flow, reading = evidence.flow, evidence.readings[position]
    step, parent = flow.steps[position], flow.parent(position)
    return [
        _own(step),
        *(step.input, step.output, step.error, step.tokens, step.model, step.tool),
        *(_rounded((step.duration_ns or 0) / 1e6), round(flow.share(position), 1)),
        *(reading.error, reading.told_error, reading.log_error, reading.empty, reading.refused, reading.cut),
        *(bool(reading.slower), flow.recovered[position], flow.places.get(position), cause == position),
        _own(flow.steps[parent]) if parent != TOP else None,
        [_own(flow.steps[child]) for child in flow.children[position]],
    ]


def _own(step: Step) -> list[Any]:
    return [step.kind, step.name, step.service, step.status]


def _rounded(number: float) -> float:
    """To two significant digits."""
    return float(f"{number:.1e}")


def _plain(value: Any) -> Any:
    return msgspec.to_builtins(value)

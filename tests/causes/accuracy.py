"""How often the rules name the right cause, beside simple baselines: `python -m tests.causes.accuracy`."""

import argparse
from collections.abc import Callable, Iterable
from typing import NamedTuple

from collector.model import EXECUTION_SPAN, Step
from collector.reasoning.case import Case
from collector.reasoning.rules import explain
from tests.causes.labelled import Labelled, labelled
from tests.causes.words import Half

Judge = Callable[[Case], bytes | None]


class Score(NamedTuple):
    right: int
    of: int

    @property
    def share(self) -> float:
        return self.right / self.of if self.of else 0.0


def by_rules(case: Case) -> bytes | None:
    narrowed = Case(
        key=case.key,
        revision=case.revision,
        facts=case.facts,
        steps=case.steps,
        due=frozenset({EXECUTION_SPAN}),
        history=case.history,
        records=case.records,
    )
    cause = explain(narrowed)[0].root_cause
    return bytes.fromhex(cause.span_id) if cause else None


def _failed(case: Case) -> list[Step]:
    return [step for step in case.steps if step.status == "error"]


def last_error(case: Case) -> bytes | None:
    """The ERROR step that started last."""
    return max(_failed(case), key=lambda step: step.start_ns).span_id if _failed(case) else None


def first_error(case: Case) -> bytes | None:
    """The ERROR step that started first."""
    return min(_failed(case), key=lambda step: step.start_ns).span_id if _failed(case) else None


def first_ended(case: Case) -> bytes | None:
    """The ERROR step that ended first: harder to beat, as an error's own step ends before those it passes through."""
    ended = [(step.start_ns + (step.duration_ns or 0), step.span_id) for step in _failed(case)]
    return min(ended)[1] if ended else None


JUDGES: dict[str, Judge] = {
    "rules": by_rules,
    "first ERROR to start": first_error,
    "last ERROR to start": last_error,
    "first ERROR to end": first_ended,
}


def scores(cases: Iterable[Labelled], judge: Judge) -> dict[str, Score]:
    """Right answers by fault; for a healthy execution the right answer is none."""
    table: dict[str, Score] = {}
    for fault, case, truth in cases:
        named = judge(case)
        right = named in truth if truth else named is None
        before = table.get(fault, Score(0, 0))
        table[fault] = Score(before.right + right, before.of + 1)
    return table


def total(table: dict[str, Score], *, failing: bool = True) -> Score:
    chosen = [score for fault, score in table.items() if (fault != "healthy") == failing]
    return Score(sum(score.right for score in chosen), sum(score.of for score in chosen))


def table(half: Half) -> str:
    """The accuracy of one half as a Markdown table."""
    cases = list(labelled(half))
    columns = [scores(cases, judge) for judge in JUDGES.values()]
    lines = [f"| {half} | n | " + " | ".join(JUDGES) + " |", "|---|---|" + "---|" * len(JUDGES)]
    for fault, score in columns[0].items():
        shares = " | ".join(f"{column[fault].share:.0%}" for column in columns)
        lines += [f"| {fault} | {score.of} | {shares} |"]
    sums = [total(column) for column in columns]
    lines.append(f"| **all failing** | {sums[0].of} | " + " | ".join(f"**{score.share:.1%}**" for score in sums) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("half", choices=["development", "held-out", "both"], nargs="?", default="both")
    wanted = parser.parse_args().half
    for half in ("development", "held-out"):
        if wanted in (half, "both"):
            print(table(half), end="\n\n")


if __name__ == "__main__":
    main()

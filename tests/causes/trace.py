"""A simulated execution: steps on a simulated clock, recorded as an instrumented program would record them."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec
import orjson

from collector.model import Record, Step, StepError, StepExtra, Tokens
from tests.causes.words import Half, Words

MS = 1_000_000


class Failure(Exception):
    """What a simulated program raises."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.type, _, self.message = words.partition(": ")


class Plan(NamedTuple):
    """Which fault happens, at the how-many-th operation of the execution."""

    fault: str
    site: int


class Style(msgspec.Struct):
    """How this program and its instrumentation write: drawn once an execution."""

    dialect: str
    content: bool
    wrappers_fail: bool
    """Whether a step through which an exception passes is marked as failed, or only the one that raised."""
    good_status: str
    calls_shown: bool
    """Whether the HTTP call under a model or a tool is a step of its own."""
    noise: float
    wrapped: bool
    """Whether a framework puts a step of its own around each call, which repeats what went in and came out."""
    loses: int
    """How many steps never arrived."""
    skew_ms: float
    """How far the clocks of the other services are off."""


class Draft(msgspec.Struct):
    """A step while it is being recorded."""

    span_id: bytes
    parent_span_id: bytes | None
    name: str
    kind: str
    start_ns: int
    end_ns: int = 0
    status: str = "unset"
    service: str | None = None
    input: object = None
    output: object = None
    error: StepError | None = None
    model: str | None = None
    tool: str | None = None
    tokens: Tokens | None = None
    finish: str | None = None
    span_kind: int = 1


class Trace:
    """Records one execution; `arrive` tells an operation whether the planned fault is its own."""

    def __init__(self, seed: int, half: Half, plan: Plan | None) -> None:
        self.rng = random.Random(seed)
        self.half, self.plan = half, plan
        self.words = Words(half, self.rng)
        self.style = self._style()
        self.service = self.words.pick("service")
        self.model = self.words.pick("model")
        self.now_ns = 1_750_000_000_000_000_000 + self.rng.randrange(10**15)
        self.sites: list[str] = []
        self.stack: list[Draft] = []
        self.drafts: list[Draft] = []
        self.records: list[Record] = []
        self.truth: list[bytes] = []
        self.spoilt = False
        """True once a fault made some later value worse, without an exception."""

    def _style(self) -> Style:
        rng = self.rng
        return Style(
            dialect=rng.choice(["otel", "openai", "messages", "plain", "langchain", "anthropic"]),
            content=rng.random() < 0.9,
            wrappers_fail=rng.random() < 0.8,
            good_status=rng.choice(["ok", "unset", "unset"]),
            calls_shown=rng.random() < 0.4,
            noise=rng.choice([0.0, 0.1, 0.3]),
            wrapped=rng.random() < 0.3,
            loses=rng.choice([0, 0, 0, 1, 2]),
            skew_ms=rng.choice([0, 0, 0, rng.uniform(-40, 40)]),
        )

    def arrive(self, operation: str) -> str | None:
        self.sites.append(operation)
        planned = self.plan is not None and self.plan.site == len(self.sites) - 1
        return self.plan.fault if self.plan and planned else None

    def blame(self, *drafts: Draft) -> None:
        self.truth.extend(draft.span_id for draft in drafts)

    def wait(self, ms: float) -> None:
        self.now_ns += max(1000, int(ms * self.rng.lognormvariate(0, 0.35) * MS))

    @contextmanager
    def step(self, name: str, kind: str, **fields: object) -> Iterator[Draft]:
        parent = self.stack[-1].span_id if self.stack else None
        draft = Draft(self.rng.randbytes(8), parent, name, kind, self.now_ns)
        draft.service = self.service
        for field, value in fields.items():
            setattr(draft, field, value)
        self.drafts.append(draft)
        self.stack.append(draft)
        self.wait(0.4)
        try:
            yield draft
            if draft.status == "unset" and draft.error is None:
                draft.status = self.style.good_status
        except Failure as failure:
            self._failed(draft, failure)
            raise
        finally:
            self.wait(0.3)
            draft.end_ns = draft.end_ns or self.now_ns
            self.stack.pop()

    def _failed(self, draft: Draft, failure: Failure) -> None:
        if draft.end_ns:  # it went on after its caller had given up
            return
        raised_here = failure.__dict__.setdefault("origin", draft.span_id) == draft.span_id
        if raised_here or self.style.wrappers_fail or len(self.stack) == 1:
            draft.status = "error"
            draft.error = draft.error or StepError(failure.type, failure.message)

    def fail(self, draft: Draft, words: str) -> None:
        """Marks a step as failed without an exception."""
        kind, _, message = words.partition(": ")
        draft.status, draft.error = "error", StepError(kind, message)

    def parallel(self, branches: list[Callable[[], object]]) -> list[object]:
        """Runs branches from the same moment; a failure is raised at the end, or at once and the others cancelled."""
        started, ended, results = self.now_ns, self.now_ns, []
        failure: Failure | None = None
        failed_at, others = 0, list[Draft]()
        for branch in branches:
            self.now_ns, first = started + self.rng.randrange(10**6), len(self.drafts)
            try:
                results.append(branch())
                others += self.drafts[first:]
            except Failure as raised:
                failure, failed_at = raised, self.now_ns
            ended = max(ended, self.now_ns)
        self.now_ns = ended
        if failure:
            if self.rng.random() < 0.6:
                self._cancel(others, failed_at)
            raise failure
        return results

    def _cancel(self, others: list[Draft], at_ns: int) -> None:
        """What runs beside a failure is cut off with an error of its own, what would have run later never starts."""
        for draft in others:
            if draft.start_ns >= at_ns:
                self.drafts.remove(draft)
            elif draft.end_ns > at_ns:
                draft.end_ns, draft.output, draft.finish = at_ns + self.rng.randrange(1, 3 * MS), None, None
                self.fail(draft, self.words.pick("cancelled"))
        self.now_ns = at_ns + 3 * MS

    def log(self, draft: Draft, severity: int, body: str) -> None:
        self.records.append(
            Record(
                draft.span_id, self.now_ns, None, severity, orjson.dumps(body).decode(), "{}", self.rng.randbytes(16)
            )
        )

    def noise(self) -> None:
        """Steps that every program has and that say nothing about the fault."""
        rng = self.rng
        if rng.random() < self.style.noise * 2:
            with self.step(rng.choice(["GET", "redis get", "cache.lookup"]), "db", span_kind=3, input="GET session:41"):
                self.wait(1)
        if rng.random() < self.style.noise * 0.5:
            try:
                with self.step(
                    rng.choice(["GET", "cache.lookup", "load_locale"]), rng.choice(["http", "db", "function"])
                ):
                    self.wait(2)
                    raise Failure(self.words.pick("noise_error"))
            except Failure:
                pass
        if rng.random() < self.style.noise and self.stack:
            self.log(self.stack[-1], 13, self.words.pick("log_warning"))
        self._harmless()
        if rng.random() < self.style.noise:
            with self.step("load_prompt", "prompt", output="You are a helpful assistant."):
                self.wait(0.5)

    def _harmless(self) -> None:
        """What looks like a fault and is none."""
        if self.stack and self.rng.random() < self.style.noise * 0.4:
            self.log(self.stack[-1], 17, self.words.pick("harmless_log"))
        if self.rng.random() < self.style.noise * 0.5:
            with self.step("self_check", self.rng.choice(["function", "tool"])) as draft:
                self.wait(3)
                draft.output = self.words.pick("harmless_result")

    def steps(self) -> list[Step]:
        """The steps as they arrived: some lost, the clocks of other services off."""
        drafts = self._arrived()
        home = drafts[0].service
        for draft in drafts:
            if draft.service != home:
                draft.start_ns += int(self.style.skew_ms * MS)
                draft.end_ns += int(self.style.skew_ms * MS)
        self.style.skew_ms = 0
        return [finished(draft, self.style) for draft in sorted(drafts, key=lambda d: (d.start_ns, d.span_id))]

    def _arrived(self) -> list[Draft]:
        spared = {self.drafts[0].span_id, *self.truth}
        losable = [draft.span_id for draft in self.drafts if draft.span_id not in spared]
        lost = set(losable[: 0 if len(losable) < 5 else self.style.loses * 3 : 3])
        return [draft for draft in self.drafts if draft.span_id not in lost]


def finished(draft: Draft, style: Style) -> Step:
    shown = style.content or draft.kind in ("http", "db", "rpc", "messaging")
    return Step(
        span_id=draft.span_id,
        parent_span_id=draft.parent_span_id,
        name=draft.name,
        kind=draft.kind,
        span_kind=draft.span_kind,
        status=draft.status,
        service=draft.service,
        start_ns=draft.start_ns,
        duration_ns=max(draft.end_ns - draft.start_ns, 0),
        input=json_text(draft.input) if shown else None,
        output=json_text(draft.output) if shown else None,
        error=draft.error,
        model=draft.model,
        provider=None,
        tool=draft.tool,
        session_id=None,
        user_id=None,
        tokens=draft.tokens,
        cost_usd=None,
        cost_source=None,
        extra=StepExtra(finish_reasons=[draft.finish]) if draft.finish else None,
        warnings=[],
    )


def json_text(value: object) -> str | None:
    return None if value is None else orjson.dumps(value).decode()

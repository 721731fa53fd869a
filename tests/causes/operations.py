"""What simulated programs do: call a model or a tool, retrieve, query, run a stage, retry; each can carry the fault."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import orjson

from collector.model import Tokens
from tests.causes.dialects import Call, Turn, finish_reason, model_input, model_output, tool_output
from tests.causes.trace import MS, Draft, Failure, Trace

RAISING = frozenset({"tool_error", "provider_error", "parallel_error"})


class Result(NamedTuple):
    """What an operation gives to the next one."""

    text: str
    bad: bool = False
    items: int = 1


class Reply(NamedTuple):
    """What a model gives to the next operation."""

    text: str
    calls: list[Call]
    bad: bool = False
    draft: Draft | None = None


def model(trace: Trace, use: str, turns: list[Turn], wanted: Turn) -> Reply:
    """One model call, maybe wrapped; `use` is choose, answer or json, `wanted` what a faultless model says."""
    with wrapper(trace, "call_model") as around:
        reply = _model(trace, use, turns, wanted)
        if around and reply.draft:
            around.input, around.output = reply.draft.input, reply.draft.output
    return reply


def _model(trace: Trace, use: str, turns: list[Turn], wanted: Turn) -> Reply:
    style = trace.style
    name = {"openai": "openai.chat", "langchain": "ChatOpenAI"}.get(style.dialect, f"chat {trace.model}")
    with trace.step(name, "llm", model=trace.model, span_kind=3) as draft:
        draft.input = model_input(style.dialect, turns)
        fault = trace.arrive(f"model:{use}")
        touch(trace, draft, fault, trace.rng.uniform(300, 2500))
        said, reason, bad = _said(trace, draft, fault, wanted)
        draft.output = model_output(style.dialect, said, reason)
        draft.finish = finish_reason(style.dialect, reason) if trace.rng.random() < 0.85 else None
        length = 256 * trace.rng.randint(1, 4) if reason == "length" else 20 + len(said.text) // 4
        draft.tokens = Tokens(input=sum(len(turn.text) for turn in turns) // 4 + 30, output=length)
        return Reply(said.text, list(said.calls), bad, draft)


def _said(trace: Trace, draft: Draft, fault: str | None, wanted: Turn) -> tuple[Turn, str, bool]:
    rng, reason = trace.rng, "tool" if wanted.calls else "stop"
    if fault in ("bad_json", "truncated", "refused", "wrong_tool"):
        trace.blame(draft)
        trace.spoilt = True
    if fault == "bad_json":
        return Turn("assistant", _broken_json(trace, wanted.text)), reason, True
    if fault == "truncated":
        return Turn("assistant", wanted.text[: max(5, int(len(wanted.text) * rng.uniform(0.3, 0.8)))]), "length", True
    if fault == "refused":
        return Turn("assistant", trace.words.pick("refusal")), "refusal", True
    if fault == "wrong_tool":
        other = rng.choice([name for name in trace.words.some("tool", 9) if name != wanted.calls[0].name])
        return Turn("assistant", "", [Call(other, wanted.calls[0].arguments)]), reason, True
    return wanted, reason, False


def _broken_json(trace: Trace, text: str) -> str:
    return trace.rng.choice(
        [
            f"Sure! Here is the JSON you asked for:\n{text}",
            text.replace('"', "'"),
            text[:-1] + ", ...]" if text.endswith("]") else text[:-1],
            text.replace(":", "=", 1),
            "{}",
        ]
    )


def touch(trace: Trace, draft: Draft, fault: str | None, ms: float) -> None:
    """The outside work of an operation, where errors, hangs, delays and silent logs happen."""
    shown = trace.style.calls_shown and draft.kind in ("llm", "tool", "retriever")
    with _call(trace, draft) if shown else nullcontext(draft) as inner:
        blamed = [draft] if inner is draft else [inner, draft]
        if fault in RAISING:
            trace.blame(*blamed)
            trace.wait(ms * trace.rng.uniform(0.1, 1))
            _raise(trace, draft, inner)
        elif fault == "timeout_cascade":
            trace.blame(*blamed)
            _hang(trace, draft, inner)
        elif fault == "slow_dependency":
            trace.blame(*blamed)
            trace.wait(max(ms * trace.rng.uniform(15, 50), 4000))
        else:
            trace.wait(ms)
        if fault == "log_only":
            trace.blame(*blamed)
            trace.spoilt = True
            trace.log(inner, trace.rng.choice([17, 17, 21]), trace.words.pick("log_error"))
        if inner is not draft:
            inner.output = 200


def _call(trace: Trace, draft: Draft) -> AbstractContextManager[Draft]:
    place = "v1/chat/completions" if draft.kind == "llm" else f"api/{draft.tool or 'search'}"
    method = "POST" if draft.kind == "llm" else trace.rng.choice(["GET", "POST"])
    return trace.step(method, "http", span_kind=3, input=f"{method} https://{trace.service}.internal/{place}")


def _raise(trace: Trace, draft: Draft, inner: Draft) -> None:
    if inner is not draft:
        inner.output = trace.rng.choice([500, 502, 503, 429])
        trace.fail(inner, f"{inner.output}: ")
    if draft.kind == "llm":
        raise Failure(trace.rng.choice(["RateLimitError: Error code: 429", "InternalServerError: Error code: 500"]))
    raise Failure(trace.words.pick("db_error" if draft.kind == "db" else "exception"))


def _hang(trace: Trace, draft: Draft, inner: Draft) -> None:
    """The caller gives up; the step itself ends later, was cancelled, or says time-out of its own."""
    started, patience = trace.now_ns, trace.rng.choice([5_000, 10_000, 30_000])
    trace.now_ns = started + patience * MS
    way = trace.rng.choice(["late", "cancelled", "own", "own"])
    failure = Failure(trace.words.pick("timeout"))
    if way == "late":
        for late in {id(inner): inner, id(draft): draft}.values():
            late.end_ns = trace.now_ns + trace.rng.randrange(1, 9_000) * MS
            late.status = trace.style.good_status
    elif way == "cancelled":
        trace.fail(inner, trace.words.pick("cancelled"))
    if way != "own":
        failure.__dict__["origin"] = draft.parent_span_id
    raise failure


@contextmanager
def wrapper(trace: Trace, name: str) -> Iterator[Draft | None]:
    """A framework's own step around a call, where it makes such steps."""
    if not trace.style.wrapped:
        yield None
        return
    with trace.step(name, "chain") as draft:
        yield draft


def tool(trace: Trace, call: Call) -> Result:
    """One tool call, maybe wrapped; returns its result as the model sees it."""
    with wrapper(trace, "tools") as around:
        result, draft = _tool(trace, call)
        if around:
            around.input, around.output = draft.input, {"messages": [{"role": "tool", "content": result.text}]}
    return result


def _tool(trace: Trace, call: Call) -> tuple[Result, Draft]:
    name = call.name if trace.style.dialect in ("plain", "langchain") else f"execute_tool {call.name}"
    with trace.step(name, "tool", tool=call.name, input=dict(call.arguments)) as draft:
        fault = trace.arrive("tool")
        touch(trace, draft, fault, trace.rng.uniform(30, 600))
        text, failed = trace.words.pick("good_result"), False
        if fault == "swallowed":
            text, failed, trace.spoilt = trace.words.pick("error_text"), True, True
            trace.blame(draft)
        if fault == "log_only":
            text = trace.rng.choice(["[]", "{}", "null", text])
        draft.output = tool_output(trace.style.dialect, text, failed=failed)
        return Result(text, failed or fault == "log_only"), draft


def retrieve(trace: Trace, query: str) -> Result:
    """A search over documents; maybe wrapped, maybe beside another one that finds nothing."""
    beside = None
    if trace.rng.random() < trace.style.noise:
        with trace.step("search_archive", "retriever", input=query) as beside:
            trace.wait(20)
            beside.output = []
    with wrapper(trace, "retrieve_documents") as around:
        result, draft = _retrieve(trace, query)
        if around:
            around.input, around.output = query, draft.output
    if beside and draft.span_id in trace.truth and not result.items:
        trace.blame(beside)  # one empty search is as good an answer as the other
    return result


def _retrieve(trace: Trace, query: str) -> tuple[Result, Draft]:
    rng = trace.rng
    with trace.step(
        rng.choice(["retrieve", "vector_search", "VectorStoreRetriever"]), "retriever", input=query
    ) as draft:
        if rng.random() < 0.5:
            with trace.step("embed query", "embedding", input=query, model="text-embedding-3-small"):
                trace.wait(60)
        fault = trace.arrive("retrieve")
        touch(trace, draft, fault, rng.uniform(20, 200))
        count = rng.randint(2, 5)
        if fault == "empty" or (fault == "log_only" and rng.random() < 0.7):
            count, trace.spoilt = 0, True
        if fault == "empty":
            trace.blame(draft)
        found = [
            {"id": f"doc-{n}", "content": f"{query} … part {n}", "score": round(rng.random(), 3)} for n in range(count)
        ]
        draft.output = rng.choice([found, {"documents": found}, {"matches": found, "took_ms": 12}])
        return Result(orjson.dumps(found).decode(), count == 0, count), draft


def query(trace: Trace, sql: str) -> Result:
    with trace.step(sql.split()[0].lower(), "db", span_kind=3, input=sql) as draft:
        touch(trace, draft, trace.arrive("db"), trace.rng.uniform(1, 30))
        return Result("rows", trace.spoilt)


def request(trace: Trace, method: str, path: str, server: Callable[[], Result]) -> Result:
    """A call to another service: the client's step, the server's step below it, and what the server does."""
    url = f"http://{trace.words.pick('service')}:8080{path}"
    caller = trace.service
    with trace.step(method, "http", span_kind=3, input=f"{method} {url}") as client:
        fault = trace.arrive("http")
        trace.service = trace.words.pick("service")
        try:
            with trace.step(f"{method} {path}", "http", span_kind=2, input=f"{method} {path}") as served:
                _serve(trace, served, fault)
                result = server()
                served.output = 200
        except Failure:
            client.output = served.output = 504 if "imeout" in str(served.error) else 500
            raise
        finally:
            trace.service = caller
        client.output = 200
        return result


def _serve(trace: Trace, served: Draft, fault: str | None) -> None:
    touch(trace, served, fault, trace.rng.uniform(2, 20))


def stage(trace: Trace, name: str, items: int, ms: float = 20) -> Result:
    """A stage of a pipeline: takes items and gives items on."""
    made = {"items": [f"item-{n}" for n in range(items)]}
    with trace.step(name, trace.rng.choice(["function", "chain", "other"]), input=made) as draft:
        if items == 0:
            trace.wait(ms)
            raise Failure(trace.words.pick("downstream"))
        fault = trace.arrive("stage")
        touch(trace, draft, fault, ms)
        left = 0 if fault == "empty" else max(1, int(items * trace.rng.uniform(0.5, 1)))
        if fault == "empty":
            trace.blame(draft)
            trace.spoilt = True
        draft.output = trace.rng.choice(
            [[f"item-{n}" for n in range(left)], {"items": [f"item-{n}" for n in range(left)]}]
        )
        return Result("items", left == 0, left)


def parse(trace: Trace, reply: Reply) -> Result:
    """Reads a model's JSON as a program does: it fails where the text is not what was asked for."""
    with trace.step(
        trace.rng.choice(["parse_output", "JsonOutputParser", "validate"]), "function", input=reply.text
    ) as draft:
        trace.wait(0.5)
        try:
            items = orjson.loads(reply.text)
        except orjson.JSONDecodeError as error:
            kind = trace.rng.choice(["JSONDecodeError", "OutputParserException", "ValidationError"])
            raise Failure(f"{kind}: {error}") from error
        if not items:
            raise Failure("KeyError: 'items'")
        draft.output = items
        return Result(reply.text, reply.bad, len(items))


def retried(trace: Trace, name: str, work: Callable[[str | None], Result]) -> Result:
    """Up to three attempts; the planned fault is one that the retry hides, and that shows later."""
    fault = trace.arrive("retried")
    if fault is None and trace.rng.random() > trace.style.noise:
        return work(None)
    failing, first = trace.rng.choice([1, 1, 2]), len(trace.drafts)
    for _ in range(failing):
        try:
            work("fail")
        except Failure:
            trace.wait(trace.rng.choice([100, 500, 1000]))
    if fault == "hidden_retry":
        trace.blame(trace.drafts[first])
        trace.spoilt = True
        return work(trace.rng.choice(["collide", "degraded", "degraded"]))
    return work(None)


def attempt(trace: Trace, name: str, kind: str, given: object) -> Callable[[str | None], Result]:
    """One attempt of a retried operation, for `retried`."""

    def work(way: str | None) -> Result:
        with trace.step(name, kind, input=given, span_kind=3) as draft:
            trace.wait(40)
            if way == "fail":
                raise Failure(trace.words.pick(trace.rng.choice(["exception", "timeout"])))
            if way == "collide":
                raise Failure(trace.words.pick("db_error"))
            rows = [] if way == "degraded" else [{"id": n, "title": f"title {n}"} for n in range(4)]
            draft.output = {"rows": rows, "source": "fallback"} if way == "degraded" else {"rows": rows}
            return Result("rows", way == "degraded", len(rows))

    return work

"""Whole programs: agents, retrieval pipelines, recommendation pipelines, web services, batch jobs.

Each runs against a `Trace`; faults are planned from outside, and the programs react as programs do: they raise, they
retry, they swallow, they go on with less.
"""

from collections.abc import Callable

import orjson

from tests.causes.dialects import Call, Turn
from tests.causes.operations import Reply, Result, attempt, model, parse, query, request, retried, retrieve, stage, tool
from tests.causes.trace import Failure, Trace

World = Callable[[Trace], None]


def final(trace: Trace, turns: list[Turn], bad: bool) -> str:
    """The last model call: apologises, makes something up, or answers."""
    said = trace.words.pick("apology") if bad and trace.rng.random() < 0.6 else trace.words.pick("answer")
    reply = model(trace, "answer", turns, Turn("assistant", said))
    if reply.bad and trace.rng.random() < 0.4:
        raise Failure(trace.words.pick("downstream"))
    return reply.text


def agent(trace: Trace) -> None:
    """An agent that asks a model, calls the tools it names, and answers."""
    name = trace.words.pick("agent")
    question = trace.words.pick("question")
    with trace.step(f"invoke_agent {name}", "agent", input=question) as root:
        trace.noise()
        turns = [Turn("system", "You help customers. Use tools."), Turn("user", question)]
        bad = _tool_rounds(trace, turns)
        trace.noise()
        root.output = final(trace, turns, bad)
        _cleanup(trace)


def _tool_rounds(trace: Trace, turns: list[Turn]) -> bool:
    bad = False
    looping = trace.arrive("loop") == "loop"
    for name in trace.words.some("tool", trace.rng.randint(1, 3)):
        call = Call(name, {"query": turns[1].text[:20], "limit": trace.rng.randint(1, 9)})
        if looping:
            _loop(trace, turns, call)
            return True
        if trace.rng.random() < trace.style.noise * 0.6:
            _corrected(trace, turns, call)
        reply = model(trace, "choose", turns, Turn("assistant", "", [call]))
        result = wrong(trace, reply) if reply.bad else _called(trace, reply)
        bad = bad or result.bad
        turns += [Turn("assistant", "", reply.calls), Turn("tool", result.text)]
    if trace.rng.random() < 0.4:
        _empty_on_purpose(trace, turns)
    return bad


def _corrected(trace: Trace, turns: list[Turn], call: Call) -> None:
    """The model calls the tool badly first; it is told so, and will do better."""
    tried = Call(call.name, {"q": "?"})
    model(trace, "try", turns, Turn("assistant", "", [tried]))
    complaint = trace.words.pick("bad_arguments").replace("{tool}", call.name)
    with trace.step(f"execute_tool {call.name}", "tool", tool=call.name, input=dict(tried.arguments)) as draft:
        trace.wait(3)
        if trace.rng.random() < 0.5:
            trace.fail(draft, complaint)
        else:
            draft.output = complaint
    turns += [Turn("assistant", "", [tried]), Turn("tool", complaint)]


def _called(trace: Trace, reply: Reply) -> Result:
    if len(reply.calls) == 1 and trace.rng.random() < 0.8:
        return tool(trace, reply.calls[0])
    extra = Call(trace.words.pick("tool"), {"id": trace.rng.randrange(1000)})
    results = trace.parallel([lambda: tool(trace, reply.calls[0]), lambda: tool(trace, extra)])
    return next((result for result in results if result.bad), results[0])


def wrong(trace: Trace, reply: Reply) -> Result:
    """The model asked for the wrong tool: the tool complains, in its status or in its text."""
    call = reply.calls[0]
    complaint = trace.words.pick("bad_arguments").replace("{tool}", call.name)
    with trace.step(f"execute_tool {call.name}", "tool", tool=call.name, input=dict(call.arguments)) as draft:
        trace.wait(3)
        if trace.rng.random() < 0.5:
            trace.fail(draft, complaint)
        else:
            draft.output = complaint
    if trace.rng.random() < 0.3:
        raise Failure(complaint)
    return Result(complaint, bad=True)


def _loop(trace: Trace, turns: list[Turn], call: Call) -> None:
    """Asks for the same again and again until a limit ends it, or the agent gives up."""
    rounds = trace.rng.randint(4, 9)
    text = trace.words.pick("good_result") if trace.rng.random() < 0.5 else "[]"
    for count in range(rounds):
        reply = model(trace, "choose", turns, Turn("assistant", "", [call]))
        before = len(trace.drafts)
        with trace.step(f"execute_tool {call.name}", "tool", tool=call.name, input=dict(call.arguments)) as draft:
            trace.wait(80)
            draft.output = text
        turns += [Turn("assistant", "", [call]), Turn("tool", text)]
        if count == 1 and reply.draft:
            trace.blame(reply.draft, trace.drafts[before])
    trace.spoilt = True
    if trace.rng.random() < 0.6:
        raise Failure(trace.words.pick("limit").replace("{n}", str(rounds)))


def _empty_on_purpose(trace: Trace, turns: list[Turn]) -> None:
    call = Call(trace.words.pick("lister"), {"customer": 41})
    model(trace, "choose", turns, Turn("assistant", "", [call]))
    with trace.step(f"execute_tool {call.name}", "tool", tool=call.name, input=dict(call.arguments)) as draft:
        trace.wait(40)
        draft.output = []
    turns += [Turn("assistant", "", [call]), Turn("tool", "[]")]


def _cleanup(trace: Trace) -> None:
    """What runs at the end whatever happened, and sometimes fails without consequence."""
    if trace.rng.random() < trace.style.noise:
        with trace.step(trace.rng.choice(["save_memory", "flush", "audit"]), "function") as draft:
            trace.wait(5)
            if trace.rng.random() < 0.5:
                trace.fail(draft, trace.words.pick("cleanup_error"))


def rag(trace: Trace) -> None:
    """Question, rewritten query, search, answer, citations as JSON."""
    question = trace.words.pick("question")
    with trace.step(
        trace.rng.choice(["rag_chain", "RetrievalQA", "answer_question.workflow"]), "chain", input=question
    ) as root:
        trace.noise()
        turns = [Turn("system", "Answer from the documents."), Turn("user", question)]
        rewritten = model(trace, "answer", turns, Turn("assistant", f"{question} details"))
        found = retrieve(trace, rewritten.text)
        if not found.items and trace.rng.random() < 0.35:
            raise Failure(trace.words.pick("downstream"))
        trace.noise()
        turns.append(Turn("user", f"Documents: {found.text}"))
        root.output = final(trace, turns, found.bad or rewritten.bad)
        if trace.rng.random() < 0.5:
            cited = Turn("assistant", orjson.dumps([{"source": "doc-1", "quote": "part 1"}]).decode())
            parse(trace, model(trace, "json", [*turns, Turn("user", "Cite as JSON.")], cited))
        _cleanup(trace)


def recommend(trace: Trace) -> None:
    """Candidates are fetched, filtered, ranked by a model, explained."""
    with trace.step(
        trace.rng.choice(["recommend", "movie-recommendation", "pipeline"]), "chain", input={"user": 41}
    ) as root:
        trace.noise()
        rows = retried(
            trace,
            "fetch",
            attempt(trace, trace.words.pick("stage"), trace.rng.choice(["http", "db", "function"]), "user 41"),
        )
        query(trace, f"SELECT id, title FROM {trace.words.pick('table')} WHERE score > $1")
        left = rows
        for name in trace.words.some("stage", trace.rng.randint(1, 3)):
            left = stage(trace, name, left.items * 5)
        trace.noise()
        wanted = Turn("assistant", orjson.dumps([{"id": n, "score": n / 10} for n in range(3)]).decode())
        ranked = parse(trace, model(trace, "json", [Turn("user", f"Rank {left.items} items as JSON.")], wanted))
        root.output = final(trace, [Turn("user", f"Explain why {ranked.items} were picked.")], left.bad)
        _cleanup(trace)


def shop(trace: Trace) -> None:
    """A gateway that calls services that call databases."""
    path = trace.words.pick("path")
    with trace.step(f"POST {path}", "http", span_kind=2, input=f"POST {path}") as root:
        try:
            trace.noise()
            request(trace, "GET", trace.words.pick("path"), lambda: _orders(trace))
            _write(trace)
            root.output = 200
        except Failure as failure:
            root.output = 504 if "imeout" in failure.type else 500
            if trace.rng.random() < 0.3:
                _undo(trace)
            raise
        finally:
            _cleanup(trace)


def _orders(trace: Trace) -> Result:
    table = trace.words.pick("table")
    for number in range(trace.rng.randint(1, 4)):
        query(trace, f"SELECT * FROM {table} WHERE id = {number}")
    if trace.rng.random() < 0.5:
        deeper = trace.words.pick("path")
        return request(trace, "GET", deeper, lambda: query(trace, f"SELECT price FROM {table}"))
    return Result("rows")


def _write(trace: Trace) -> None:
    table = trace.words.pick("table")
    retried(trace, "write", attempt(trace, "insert", "db", f"INSERT INTO {table} (id, total) VALUES (41, 9.9)"))
    if trace.spoilt and trace.rng.random() < 0.7:
        raise Failure(trace.words.pick("downstream"))
    query(trace, f"UPDATE {table} SET state = 'paid' WHERE id = 41")


def _undo(trace: Trace) -> None:
    with trace.step("ROLLBACK", "db", span_kind=3, input="ROLLBACK") as draft:
        trace.fail(draft, trace.words.pick("cleanup_error"))


def team(trace: Trace) -> None:
    """A supervisor with helpers that work side by side, and a summary."""
    topics = trace.words.some("question", 3)
    with trace.step(f"invoke_agent {trace.words.pick('agent')}", "agent", input=topics[0]) as root:
        trace.noise()
        model(trace, "answer", [Turn("user", topics[0])], Turn("assistant", f"Plan: {len(topics)} parts."))
        results = trace.parallel([lambda topic=topic: _helper(trace, topic) for topic in topics])
        bad = any(result.bad for result in results)
        root.output = final(trace, [Turn("user", "Summarise the findings.")], bad)
        _cleanup(trace)


def _helper(trace: Trace, topic: str) -> Result:
    with trace.step(f"invoke_agent {trace.words.pick('agent')}", "agent", input=topic) as draft:
        here = trace.arrive("branch")
        call = Call(trace.words.pick("tool"), {"query": topic[:12]})
        reply = model(trace, "choose", [Turn("user", topic)], Turn("assistant", "", [call]))
        result = wrong(trace, reply) if reply.bad else _in_branch(trace, call, here)
        draft.output = final(trace, [Turn("user", topic), Turn("tool", result.text)], result.bad)
        return Result("done", result.bad)


def _in_branch(trace: Trace, call: Call, here: str | None) -> Result:
    if here != "parallel_error":
        return tool(trace, call)
    with trace.step(f"execute_tool {call.name}", "tool", tool=call.name, input=dict(call.arguments)) as draft:
        trace.blame(draft)
        trace.wait(100)
        raise Failure(trace.words.pick("exception"))

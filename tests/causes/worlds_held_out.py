"""Programs that only the held-out half runs: the rules were written without a look at how they go."""

import orjson

from tests.causes.dialects import Call, Turn
from tests.causes.operations import Result, attempt, model, parse, query, retried, retrieve, stage, tool
from tests.causes.trace import Failure, Trace
from tests.causes.worlds import final, wrong


def coder(trace: Trace) -> None:
    """A coding agent: plan as JSON, search, edit, run tests."""
    with trace.step("session", "agent", input="Fix the failing test in billing.") as root:
        trace.noise()
        wanted = Turn("assistant", orjson.dumps(["read", "edit", "test"]).decode())
        parse(trace, model(trace, "json", [Turn("user", "Plan as a JSON list.")], wanted))
        found = retrieve(trace, "def total(invoice)")
        bad = found.bad
        with trace.step("edit_loop", "chain"):
            for name in trace.words.some("tool", 2):
                turns = [Turn("user", f"Next step for {name}?")]
                reply = model(trace, "choose", turns, Turn("assistant", "", [Call(name, {"path": "billing.py"})]))
                done = wrong(trace, reply) if reply.bad else tool(trace, reply.calls[0])
                bad = done.bad or bad
                trace.noise()
        root.output = final(trace, [Turn("user", "Say what was changed.")], bad)


def batch(trace: Trace) -> None:
    """A message is consumed; rows are extracted, enriched side by side, loaded."""
    with trace.step("process claims", "messaging", span_kind=5, input={"topic": "claims", "offset": 8812}) as root:
        rows = retried(trace, "extract", attempt(trace, "extract", "db", "SELECT * FROM claims_raw"))
        left = stage(trace, trace.words.pick("stage"), rows.items * 3)
        enriched = trace.parallel([lambda part=part: _enrich(trace, part) for part in range(3)])
        if any(part.bad for part in enriched) and trace.rng.random() < 0.6:
            raise Failure(trace.words.pick("downstream"))
        stage(trace, trace.words.pick("stage"), left.items)
        query(trace, "INSERT INTO claims SELECT * FROM staging")
        with trace.step("publish", "messaging", span_kind=4):
            trace.wait(3)
        root.output = {"loaded": left.items}


def _enrich(trace: Trace, part: int) -> Result:
    with trace.step(f"enrich part {part}", "function") as draft:
        if trace.arrive("branch") == "parallel_error":
            trace.blame(draft)
            raise Failure(trace.words.pick("exception"))
        return tool(trace, Call(trace.words.pick("tool"), {"part": part}))

"""`xray executions`: the list, and one execution as a tree of steps."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from collector.commands.client import Client, quoted
from collector.commands.tables import dollars, moment, print_json, print_table, screen, state, tokens, took

LONGEST_VALUE = 200
Json = dict[str, Any]


def show_list(url: str | None, filters: Mapping[str, Any], *, as_json: bool) -> None:
    page = Client(url).get("/executions", {"limit": 20} | {k: v for k, v in filters.items() if v is not None})
    if as_json:
        print_json(page)
    elif not page["items"]:
        screen().print("No executions. Send some with `xray demo`, or point an app at X-Ray.")
    else:
        print_table(
            ("id", "started (UTC)", "name", "service", "status", "took", "steps", "errors", "tokens", "reasoning"),
            (_row(item) for item in page["items"]),
        )


def _row(item: Json) -> Iterator[Any]:
    yield item["execution_id"]
    yield moment(item["started_at"])
    yield item["name"]
    yield item["service"]
    yield state(item["status"])
    yield took(item["duration_ms"])
    yield item["step_count"]
    yield item["error_count"] or ""
    yield tokens(item["tokens"])
    yield state((item["reasoning"] or {}).get("status"))


def show_one(url: str | None, execution_id: str, project: str | None, *, as_json: bool) -> None:
    found = Client(url).get(f"/executions/{quoted(execution_id)}", {"project": project})
    if as_json:
        print_json(found)
    else:
        print_execution(found)


def print_execution(found: Json, console: Console | None = None) -> None:
    """An execution as text: facts, the tree of its steps, what was made of it."""
    console = console or screen()
    facts = [
        *(found["service"] or "", took(found["duration_ms"]), f"{found['step_count']} steps"),
        *(f"{tokens(found['tokens'])} tokens" if tokens(found["tokens"]) else "", dollars(found["cost_usd"])),
        *(moment(found["started_at"]) + " UTC", found["execution_id"]),
    ]
    console.print(Text.assemble((found["name"], "bold"), "  ", state(found["status"])))
    console.print(Text(" · ".join(fact for fact in facts if fact), style="dim"))
    for warning in found["warnings"]:
        console.print(Text(f"! {warning}", style="yellow"))
    for depth, step in in_tree_order(found["steps"]):
        for line in _step_lines(step):
            console.print(Text("  " * depth) + line, soft_wrap=True)
    for line in _reasoning_lines(found["reasoning"], {step["span_id"]: step["name"] for step in found["steps"]}):
        console.print(line, soft_wrap=True)


def in_tree_order(steps: list[Json]) -> Iterator[tuple[int, Json]]:
    """Each step behind its parent, with its depth; steps come in start order and stay so among siblings."""
    known = {step["span_id"] for step in steps}
    children: dict[str | None, list[Json]] = {}
    for step in steps:
        parent = step["parent_span_id"]
        children.setdefault(parent if parent in known and parent != step["span_id"] else None, []).append(step)
    waiting = [(0, step) for step in reversed(children.pop(None, []))]
    while waiting:
        depth, step = waiting.pop()
        yield depth, step
        waiting += [(depth + 1, child) for child in reversed(children.pop(step["span_id"], []))]


def _step_lines(step: Json) -> Iterator[Text]:
    facts = [step["kind"], step["model"], took(step["duration_ms"]), tokens(step["tokens"])]
    mark = {"error": ("✗ ", "red"), "ok": ("✓ ", "green")}.get(step["status"], ("· ", "dim"))
    name = step["label"] or step["name"]
    yield Text.assemble(mark, (name, "bold"), ("  " + " · ".join(fact for fact in facts if fact), "dim"))
    for title in ("input", "output"):
        if step[title] is not None:
            yield Text.assemble((f"    {title:<9} ", "dim"), _short(step[title]))
    if error := step["error"]:
        words = ": ".join(part for part in (error["type"], error["message"]) if part)
        yield Text.assemble(("    error     ", "dim"), (_short(words or "(no message)"), "red"))
    if (step["reasoning"] or {}).get("text"):
        yield Text.assemble(("    reasoning ", "dim"), _one_line(step["reasoning"]["text"]))


def _reasoning_lines(reasoning: Json | None, names: dict[str, str]) -> Iterator[Text]:
    if reasoning is None:
        return
    stale = ", but more has come since" if reasoning["stale"] else ""
    yield Text.assemble(("Reasoning ", "bold"), state(reasoning["status"]), (stale, "yellow"))
    if reasoning["text"]:
        yield Text(reasoning["text"])
    if reasoning["error"]:
        yield Text(reasoning["error"], style="red")
    if cause := reasoning.get("root_cause"):
        name, evidence = names.get(cause["span_id"], "a step"), " ".join(cause["evidence"])
        yield Text(f"Root cause: {name} ({cause['span_id']}, {cause['confidence']:.0%} sure). {evidence}")


def _short(value: Any) -> str:
    text = _one_line(
        _conversation(value) or (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    )
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}… ({len(text)} characters)"


def _conversation(value: Any) -> str | None:
    """Chat messages as they were said; None for anything else."""
    if not isinstance(value, list) or not value or not all(isinstance(each, dict) and "role" in each for each in value):
        return None
    return " ".join(f"{each['role']}: {_said(each)}" for each in value)


def _said(message: Json) -> str:
    content = message.get("content") or message.get("parts") or ""
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("content") or part.get("text") if isinstance(part, dict) else part for part in parts]
    rest = [part for part, text in zip(parts, texts, strict=True) if not isinstance(text, str)]
    rest += message.get("tool_calls") or []
    said = [text for text in texts if isinstance(text, str)]
    return " ".join([*said, *(json.dumps(part, ensure_ascii=False) for part in rest)])


def _one_line(text: str) -> str:
    return " ".join(text.split())

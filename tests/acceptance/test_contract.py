"""The outer contract of REST, point by point, against a running X-Ray: names, types, filters, cursors, errors."""

import re
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.acceptance import shapes
from tests.acceptance.client import Project, events, misfits, step, tree
from tests.processes import XRay, wait_for

LLM = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
}
HOUR_MS = 3_600_000
ZERO = "0" * 32


def failing(name: str, message: str, **options: Any) -> Any:
    made = step(name, **options)
    made.status.code, made.status.message = 2, message
    raised = made.events.add(name="exception", time_unix_nano=made.end_time_unix_nano)
    for key, value in {"type": "ValueError", "message": message, "stacktrace": "Traceback: here"}.items():
        raised.attributes.add(key=f"exception.{key}").value.string_value = value
    return made


@pytest.fixture(scope="module")
def shop(xray: XRay) -> Iterator[Project]:
    """Three explained executions: `chat` of 2 h ago, `bake` failed 1 h ago, `walk` of now without its root."""
    project = Project(xray, "shop")
    own = {"xray.execution.id": "chat", "session.id": "s-1", "user.id": "u-1", "tag.tags": ["blue", "new"]}
    said = {"langsmith.span.tags": "blue,new", "input.value": "Which film?", "xray.execution.metadata": '{"a": [1]}'}
    outcome = {"xray.execution.outcome": '{"film": "Solaris"}'}
    project.send(
        *tree(
            step("ask", 2 * HOUR_MS, 1000, attributes=own | said | outcome),
            step("chat gpt-4o", 2 * HOUR_MS - 100, 500, attributes=LLM | {"shop.shelf": 7}),
        ),
        **{"service.name": "films"},
    )
    project.send(
        *tree(
            failing("bake", "no flour", ago_ms=HOUR_MS, lasts_ms=9000, attributes={"xray.execution.id": "bake"}),
            failing("fetch flour", "no flour", ago_ms=HOUR_MS - 10, lasts_ms=100),
        ),
        **{"service.name": "bakery", "oven": "north"},
    )
    root, child = tree(step("walk"), step("left foot", attributes={"xray.execution.id": "walk"}))
    assert root.trace_id == child.trace_id
    project.send(child, **{"service.name": "legs"})
    wait_for("all explanations", lambda: all(ends(project, name) for name in ("chat", "bake", "walk")))
    yield project
    project.close()


def ends(project: Project, public_id: str) -> bool:
    reasoning = project.execution(public_id)["reasoning"]
    return bool(reasoning) and reasoning["status"] == "completed" and not reasoning["stale"]


def test_an_execution_has_its_names_and_types(shop: Project) -> None:
    listed = shop.get("/executions")["items"]
    assert misfits(listed, [shapes.EXECUTION]) == []
    for item in listed:
        whole = shop.execution(item["execution_id"])
        assert misfits(whole, {**shapes.EXECUTION, "steps": [shapes.STEP]}) == []
        for each in whole["steps"]:
            wide = shop.step(whole["trace_id"], bytes.fromhex(each["span_id"]))
            assert misfits(wide, shapes.WIDE_STEP) == []


def test_an_execution_says_what_was_sent(shop: Project) -> None:
    chat = shop.execution("chat")
    assert (chat["name"], chat["service"], chat["status"], chat["project"]) == ("ask", "films", "ok", "shop")
    assert (chat["session_id"], chat["user_id"], chat["tags"]) == ("s-1", "u-1", ["blue", "new"])
    assert (chat["metadata"], chat["final_outcome"]) == ({"a": [1]}, {"film": "Solaris"})
    assert (chat["duration_ms"], chat["step_count"], chat["error_count"]) == (1000.0, 2, 0)
    assert {name: chat["tokens"][name] for name in ("input", "output")} == {"input": 100, "output": 20}
    assert chat["cost_usd"] == pytest.approx((100 * 2.5 + 20 * 10) / 1e6)
    assert (chat["root_missing"], chat["warnings"]) == (False, [])
    root, call = chat["steps"]
    assert (root["name"], root["input"], call["kind"]) == ("ask", "Which film?", "llm")
    assert (call["model"], call["provider"], call["parent_span_id"]) == ("gpt-4o", "openai", root["span_id"])
    bake = shop.execution("bake")
    assert (bake["status"], bake["error_count"]) == ("error", 2)
    assert bake["steps"][1]["error"] == {"type": "ValueError", "message": "no flour", "stacktrace": "Traceback: here"}
    walk = shop.execution("walk")
    assert (walk["status"], walk["root_missing"], walk["name"]) == ("ok", True, "left foot")


def test_times_are_iso_utc_and_nanoseconds_are_text(shop: Project) -> None:
    for each in shop.execution("chat")["steps"]:
        started = datetime.fromisoformat(each["started_at"])
        assert started.utcoffset() == timedelta(0)
        assert re.fullmatch(r"\d{19}", each["start_unix_nano"])
        assert abs(started.timestamp() - int(each["start_unix_nano"]) / 1e9) < 1e-3


def test_a_failed_execution_names_its_root_cause_and_others_have_none(shop: Project) -> None:
    bake = shop.execution("bake")
    cause = bake["reasoning"]["root_cause"]
    assert cause["span_id"] == bake["steps"][1]["span_id"]
    assert 0 <= cause["confidence"] <= 1
    assert cause["evidence"]
    assert shop.execution("chat")["reasoning"]["root_cause"] is None


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["walk", "bake", "chat"]),
    ({"service": "films"}, ["chat"]),
    ({"name": "bake"}, ["bake"]),
    ({"status": "ok"}, ["walk", "chat"]),
    ({"status": "error"}, ["bake"]),
    ({"status": "running"}, []),
    ({"kind": "llm"}, ["chat"]),
    ({"model": "gpt-4o"}, ["chat"]),
    ({"session_id": "s-1"}, ["chat"]),
    ({"user_id": "u-1"}, ["chat"]),
    ({"tag": "blue"}, ["chat"]),
    ({"tag": ["blue", "new"]}, ["chat"]),
    ({"tag": ["blue", "old"]}, []),
    ({"since": "90m"}, ["walk", "bake"]),
    ({"until": "90m"}, ["chat"]),
    ({"min_duration_ms": 5000}, ["bake"]),
    ({"max_duration_ms": 1000, "min_duration_ms": 1000}, ["chat"]),
    ({"has_error": "true"}, ["bake"]),
    ({"has_error": "false"}, ["walk", "chat"]),
    ({"q": "FLOUR"}, ["bake"]),
    ({"q": "which film"}, ["chat"]),
    ({"attr.shop.shelf": "7"}, ["chat"]),
    ({"attr.oven": "north"}, ["bake"]),
    ({"attr.oven": "south"}, []),
    ({"service": "bakery", "status": "ok"}, []),
]


@pytest.mark.parametrize(("params", "found"), FILTERS, ids=lambda value: str(value)[:60])
def test_a_filter_finds_what_it_names(shop: Project, params: dict[str, Any], found: list[str]) -> None:
    assert shop.ids(**params) == found


def test_an_id_is_the_senders_own_or_the_trace_id(shop: Project) -> None:
    trace_id = shop.execution("chat")["trace_id"]
    for name in (trace_id, trace_id.upper()):
        assert shop.execution(name)["execution_id"] == "chat"
    (plain,) = tree(step("plain"))
    own = shop.send(plain)
    assert shop.execution(own)["execution_id"] == own
    for odd in ("run 42", "ä?#%", "%2F", "a/b", "/x//y/"):
        (named,) = tree(step("odd", attributes={"xray.execution.id": odd}))
        shop.send(named)
        assert shop.execution(odd)["trace_id"] == named.trace_id.hex()
        assert shop.get(f"/executions/{quote(odd, safe='')}/steps/{named.span_id.hex()}")["name"] == "odd"
        assert shop.ask(f"/executions/{named.trace_id.hex()}", method="DELETE").status_code == 204
    assert shop.ask(f"/executions/{own}", method="DELETE").status_code == 204


def test_cursors_hold_everything_once_while_ingest_goes_on(xray: XRay) -> None:
    project, sender = Project(xray, "pages"), Project(xray, "pages")
    sent = [project.send(*tree(step(f"r{number}", 10_000 - number // 3))) for number in range(30)]
    stop = threading.Event()

    def go_on() -> None:
        while not stop.is_set():
            sender.send(*tree(step("new", ago_ms=0)))

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        pages = project.pages("/executions", limit=4)
        seen = [item["execution_id"] for page in pages for item in page]
        starts = [project.execution(one)["started_at"] for one in seen]
    finally:
        stop.set()
        thread.join()
        project.close()
        sender.close()
    assert len(seen) == len(set(seen))
    assert starts == sorted(starts, reverse=True)
    assert set(sent) <= set(seen)


WRONG: list[tuple[str, str, dict[str, Any], Any, int]] = [
    ("GET", "/executions", {"limit": 0}, None, 400),
    ("GET", "/executions", {"limit": 501}, None, 400),
    ("GET", "/executions", {"cursor": "x"}, None, 400),
    ("GET", "/executions", {"status": "fine"}, None, 400),
    ("GET", "/executions", {"since": "yesterday"}, None, 400),
    ("GET", "/executions", {"project": "nobody"}, None, 404),
    ("GET", "/executions/nobody", {}, None, 404),
    ("GET", f"/executions/{ZERO}", {}, None, 404),
    ("GET", f"/executions/{ZERO}/steps/{'0' * 16}", {}, None, 404),
    ("GET", f"/executions/{ZERO}/otlp", {}, None, 404),
    ("DELETE", f"/executions/{ZERO}", {}, None, 404),
    ("POST", f"/executions/{ZERO}/reasoning", {}, None, 404),
    ("POST", "/executions/chat/reasoning", {}, {"steps": ["f" * 16]}, 404),
    ("POST", "/executions/chat/reasoning", {}, {"steps": "all"}, 400),
    ("POST", "/reasoning/process", {}, None, 400),
    ("POST", "/reasoning/process", {}, {"status": "odd"}, 400),
    ("POST", "/reasoning/process", {}, {"execution_id": "nobody"}, 404),
    ("GET", "/reasoning/jobs/odd", {}, None, 404),
    ("POST", f"/reasoning/jobs/{ZERO}./retry", {}, None, 404),
    ("POST", "/executions", {}, {}, 405),
    ("GET", "/no/such/page", {}, None, 404),
]


@pytest.mark.parametrize(("method", "path", "params", "body", "status"), WRONG, ids=lambda value: str(value)[:40])
def test_errors_are_problem_details(
    shop: Project, method: str, path: str, params: dict[str, Any], body: Any, status: int
) -> None:
    answer = shop.ask(path, method=method, body=body, **params)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem = answer.json()
    assert misfits(problem, {"title": str, "status": int, "detail": str}) == []
    assert problem["status"] == status
    assert "Traceback" not in answer.text
    assert len(problem["detail"]) >= len("Not Found")
    assert all(len(fault["detail"]) > 10 for fault in problem.get("errors", []))


def test_a_deleted_execution_leaves_nothing(shop: Project) -> None:
    root, child = tree(failing("gone", "no"), step("child", attributes=LLM))
    trace_id = shop.send(root, child)
    wait_for("its explanation", lambda: ends(shop, trace_id))
    assert shop.ask(f"/executions/{trace_id}", method="DELETE").status_code == 204
    gone = (f"/executions/{trace_id}", f"/executions/{trace_id}/steps/{root.span_id.hex()}")
    for path in (*gone, f"/executions/{trace_id}/otlp", f"/reasoning/jobs/{trace_id}."):
        assert shop.ask(path).status_code == 404, path
    assert all(not job["id"].startswith(trace_id) for job in shop.get("/reasoning/jobs", limit=500)["items"])
    assert trace_id not in shop.ids()


def test_projects_are_apart(shop: Project, xray: XRay) -> None:
    for project in ("default", "pages"):
        assert shop.ask("/executions/chat", project=project).status_code == 404
        assert shop.ask("/reasoning/stats", project=project).status_code == 200
    assert httpx.get(f"{xray.url}/api/v1/executions").status_code == 200


def test_jobs_have_their_names_and_pages(shop: Project) -> None:
    jobs = [job for page in shop.pages("/reasoning/jobs", limit=2) for job in page]
    assert misfits(jobs, [shapes.JOB]) == []
    assert len({job["id"] for job in jobs}) == len(jobs)
    created = [job["created_at"] for job in jobs]
    assert created == sorted(created, reverse=True)
    for job in jobs:
        assert shop.get(f"/reasoning/jobs/{job['id']}")["status"] == job["status"]
    stats = shop.get("/reasoning/stats")
    assert misfits(stats, shapes.REASONING_STATS) == []
    assert stats["completed"] == len(jobs)
    done = shop.ask(f"/reasoning/jobs/{jobs[0]['id']}/retry", method="POST")
    assert (done.status_code, done.headers["content-type"]) == (409, "application/problem+json")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/executions/bake/reasoning", None),
        ("/executions/bake/reasoning", {"force": True}),
        ("/executions/bake/reasoning", {"steps": ["CHILD"]}),
        ("/reasoning/process", {"execution_id": "bake"}),
    ],
    ids=str,
)
def test_an_execution_is_explained_again_on_demand(shop: Project, path: str, body: Any) -> None:
    child = shop.execution("bake")["steps"][1]
    if body and body.get("steps"):
        body = {"steps": [child["span_id"]]}
    before = child["reasoning"]["created_at"]
    answer = shop.ask(path, method="POST", body=body)
    assert (answer.status_code, answer.json()["enqueued"] > 0) == (202, True), answer.text
    changed = wait_for("a new explanation", lambda: again(shop, before))
    assert changed["status"] == "completed"
    wait_for("the whole to be done", lambda: ends(shop, "bake"))


def again(shop: Project, before: str) -> Any:
    found = shop.execution("bake")["steps"][1]["reasoning"]
    return found if found["created_at"] > before and found["status"] == "completed" else None


def test_a_late_span_makes_the_explanation_stale_until_it_is_made_anew(shop: Project) -> None:
    root, late = tree(step("early"), step("late", ago_ms=900))
    trace_id = shop.send(root)
    wait_for("the first explanation", lambda: ends(shop, trace_id))
    first = shop.execution(trace_id)["reasoning"]["created_at"]
    shop.send(late)
    wait_for("the second explanation", lambda: ends(shop, trace_id))
    whole = shop.execution(trace_id)
    assert whole["reasoning"]["created_at"] > first
    assert whole["step_count"] == 2
    shop.ask(f"/executions/{trace_id}", method="DELETE")


def test_nothing_has_failed_to_be_processed(shop: Project) -> None:
    answer = shop.ask("/reasoning/process", method="POST", body={"status": "failed"})
    assert (answer.status_code, answer.json()) == (202, {"enqueued": 0})


@pytest.mark.parametrize("params", [{}, {"since": "7d"}], ids=["a day", "a week"])
def test_steps_have_figures_by_name(shop: Project, params: dict[str, Any]) -> None:
    """Long ranges are read from what is folded in the background, so they may come a moment later."""

    def flour() -> Any:
        items = shop.get("/stats/steps", **params)["items"]
        assert misfits(items, [shapes.STEP_STATS]) == []
        return next((item for item in items if item["name"] == "fetch flour"), None)

    found = wait_for("figures", flour)
    assert (found["count"], found["errors"]) == (1, 1)
    assert found["p50_ms"] == pytest.approx(100, rel=0.05)
    chat = next(item for item in shop.get("/stats/steps", **params)["items"] if item["name"] == "chat gpt-4o")
    assert (chat["tokens"]["input"], chat["tokens"]["output"]) == (100, 20)
    assert chat["cost_usd"] in (None, pytest.approx(0.00045))


def test_the_timeline_counts_executions_by_bucket(shop: Project) -> None:
    timeline = shop.get("/stats/timeline", since="3h", bucket_s=3600)
    assert misfits(timeline["items"], [shapes.BUCKET]) == []
    assert sum(bucket["executions"] for bucket in timeline["items"]) == len(shop.ids())
    assert sum(bucket["errors"] for bucket in timeline["items"]) == 1
    starts = [datetime.fromisoformat(bucket["started_at"]) for bucket in timeline["items"]]
    assert all(later - earlier == timedelta(hours=1) for earlier, later in pairwise(starts))


def test_the_stream_tells_of_executions_steps_and_reasoning(shop: Project) -> None:
    with shop.http.stream("GET", "/api/v1/stream", params={"project": "shop"}) as answer:
        assert answer.headers["content-type"].split(";")[0] == "text/event-stream"
        other = shop.twin()
        trace_id = other.send(*tree(step("told")))
        told: dict[str, Any] = {}
        for name, data in events(answer):
            if data["trace_id"] == trace_id:
                told.setdefault(name, data)
            if set(told) == {"execution", "step", "reasoning"}:
                break
        other.close()
    assert misfits(told["execution"], shapes.EXECUTION) == []
    assert told["step"]["step"]["name"] == "told"
    assert told["reasoning"]["reasoning"]["status"] == "completed"
    shop.ask(f"/executions/{trace_id}", method="DELETE")


METRICS = {
    *("xray_spans_accepted_total", "xray_spans_duplicate_total", "xray_spans_rejected_total", "xray_export_seconds"),
    *(
        "xray_commit_seconds",
        "xray_inflight_bytes",
        "xray_spool_bytes",
        "xray_reasoning_jobs",
        "xray_reasoning_seconds",
    ),
    *("xray_reasoning_oldest_pending_seconds", "xray_reasoning_tokens_total", "xray_reasoning_cost_usd_total"),
    *("xray_lease_lost_total", "xray_exporter_lag_seconds"),
}


def test_metrics_are_prometheus_text_with_the_agreed_names(shop: Project) -> None:
    answer = shop.http.get("/metrics")
    kind, *parameters = answer.headers["content-type"].split("; ")
    assert kind == "text/plain"
    assert sorted(parameters) == ["charset=utf-8", "version=0.0.4"]
    declared = {line.split()[2] for line in answer.text.splitlines() if line.startswith("# TYPE")}
    assert declared >= METRICS
    assert 'xray_reasoning_jobs{status="pending"}' in answer.text
    assert float(re.search(r"^xray_spans_accepted_total\S* (\S+)$", answer.text, re.M)[1]) > 0


def test_health_says_alive_and_ready(shop: Project) -> None:
    assert shop.http.get("/healthz").status_code == 200
    ready = shop.http.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")


ROUTES = """get /executions; get /executions/{}; get /executions/{}/steps/{}; get /executions/{}/otlp;
delete /executions/{}; post /executions/{}/reasoning; post /reasoning/process; get /reasoning/jobs;
get /reasoning/jobs/{}; post /reasoning/jobs/{}/retry; post /reasoning/jobs/{}/cancel; get /reasoning/stats;
get /stats/steps; get /stats/timeline; get /stream"""


def test_openapi_describes_every_call_and_loads_nothing_from_elsewhere(shop: Project) -> None:
    described = shop.http.get("/schema/openapi.json").json()
    assert described["openapi"].startswith("3.")
    calls = {(method, re.sub(r"{\w+}", "{}", path)) for path, item in described["paths"].items() for method in item}
    for route in ROUTES.replace("\n", " ").split(";"):
        method, path = route.split()
        assert (method, f"/api/v1{path}") in calls, route
    names = {each["name"] for each in described["paths"]["/api/v1/executions"]["get"]["parameters"]}
    assert {"service", "status", "since", "until", "limit", "cursor", "q", "tag", "project"} <= names
    for path, item in described["paths"].items():
        for call in item.values():
            assert not path.startswith("/api") or "application/problem+json" in call["responses"]["4XX"]["content"], (
                path
            )
    components = described["components"]["schemas"]
    either = [part["oneOf"] for one in components.values() for part in one["properties"].values() if "oneOf" in part]
    assert either
    assert {} not in [choice for choices in either for choice in choices], "null would be both of them, and so none"
    for reference in re.findall(
        r'"\$ref":\s*"#/components/schemas/([^"]+)"', shop.http.get("/schema/openapi.json").text
    ):
        assert reference in components
    for page in ("/schema", "/schema/openapi.json"):
        assert re.findall(r"""(?:src|href|url\()=?["'(]?(?:https?:)?//[^"'\s>)]+""", shop.http.get(page).text) == []

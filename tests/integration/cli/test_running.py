"""The commands against a running X-Ray: the demo through the SDK, and what is made of it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.processes import XRay, running

from .program import Ran, xray

Program = Callable[..., Ran]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[XRay]:
    """One X-Ray for all tests here, as `xray up` starts it."""
    with running(tmp_path_factory.mktemp("cli") / "data", XRAY_REASONER_SETTLE_MS="200") as started:
        yield started


@pytest.fixture(scope="module")
def run(server: XRay) -> Program:
    """Runs `xray` with the settings of the running one."""
    settings = {
        "XRAY_DATA_DIR": str(server.data_dir),
        "XRAY_HTTP_PORT": str(server.http_port),
        "XRAY_GRPC_PORT": str(server.grpc_port),
    }
    return lambda *arguments, **more: xray(*arguments, **settings | more)


@pytest.fixture(scope="module")
def demo(run: Program) -> Ran:
    return run("demo", "--runs", "8")


@pytest.fixture(scope="module")
def trace_ids(demo: Ran) -> list[str]:
    return [line.rsplit("/", 1)[-1] for line in demo.out.splitlines() if "/api/v1/executions/" in line]


def test_the_start_says_where_everything_is(server: XRay) -> None:
    said = server.log_file.read_text()
    for word in (server.target, f"{server.url}/v1/traces", f"{server.url}/schema", str(server.data_dir), "rules"):
        assert word in said


def test_the_demo_prints_urls_and_one_reasoning(demo: Ran, trace_ids: list[str], server: XRay) -> None:
    assert demo.code == 0, demo.err
    assert len(set(trace_ids)) == 8
    assert f"{server.url}/api/v1/executions/{trace_ids[0]}" in demo.out
    statuses = [line.split()[0] for line in demo.out.splitlines()[:8]]
    assert statuses == ["ok", "ok", "ok", "error"] * 2
    assert "Reasoning completed" in demo.out
    assert "Root cause: filter candidates (" in demo.out


def test_the_demos_steps_are_read_as_what_they_are(server: XRay, trace_ids: list[str]) -> None:
    found = server.get(f"/executions/{trace_ids[0]}")
    steps = {step["name"]: step for step in found["steps"]}
    kinds = {name: step["kind"] for name, step in steps.items()}
    assert kinds == {
        "recommend movie": "agent",
        "fetch candidates": "retriever",
        "filter candidates": "tool",
        "rank candidates": "llm",
        "explain choice": "llm",
    }
    assert (found["service"], found["user_id"], found["session_id"]) == ("movie-recommender", "ann", "evening-ann")
    assert steps["filter candidates"]["tool"] == "filter_candidates"
    assert steps["filter candidates"]["input"]["since"] == 1980
    assert steps["rank candidates"]["model"] == "gpt-5-mini"
    assert steps["rank candidates"]["tokens"]["input"] > 0
    assert found["tokens"]["input"] == sum((step["tokens"] or {}).get("input") or 0 for step in found["steps"])
    assert found["cost_usd"] > 0


def test_failing_runs_fail_in_a_step_in_the_middle(server: XRay, trace_ids: list[str]) -> None:
    failed_in: list[Any] = []
    for trace_id in (trace_ids[3], trace_ids[7]):
        found = server.get(f"/executions/{trace_id}")
        assert found["status"] == "error"
        failed_in += [step["name"] for step in found["steps"] if step["status"] == "error" and step["parent_span_id"]]
    assert failed_in == ["filter candidates", "rank candidates"]


def test_executions_are_listed_and_shown(run: Program, trace_ids: list[str]) -> None:
    for command in (("executions",), ("executions", "list")):
        listed = run(*command)
        assert listed.code == 0, listed.err
        assert all(trace_id in listed.out for trace_id in trace_ids)
    failed = run("executions", "--status", "error", "--json").json
    assert {item["trace_id"] for item in failed["items"]} == {trace_ids[3], trace_ids[7]}
    shown = run("executions", "show", trace_ids[3])
    assert "ValueError: Solaris (1972) has no rating" in shown.out
    assert run("executions", "show", trace_ids[3], "--json").json["trace_id"] == trace_ids[3]


def test_jobs_are_listed_counted_and_refuse_what_is_not_possible(run: Program, trace_ids: list[str]) -> None:
    jobs = run("jobs", "list", "--execution-id", trace_ids[3], "--json").json["items"]
    assert {job["status"] for job in jobs} == {"completed"}
    assert all(job["id"] in run("jobs", "--execution-id", trace_ids[3]).out for job in jobs)
    assert run("jobs", "stats", "--json").json["failed"] == 0
    refused = run("jobs", "retry", jobs[0]["id"])
    assert (refused.code, refused.err) == (
        1,
        "xray: The job is completed: only one that failed or was cancelled can be retried.\n",
    )
    missing = run("executions", "show", "nobody")
    assert (missing.code, missing.err) == (1, "xray: There is no execution 'nobody' in the project 'default'.\n")


def test_the_demo_goes_over_grpc_too(run: Program, server: XRay) -> None:
    endpoint = f"http://{server.target}"
    ran = run("demo", "--runs", "1", "--endpoint", endpoint, "--protocol", "grpc", "--url", server.url)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("ok ")


def test_the_doctor_finds_a_running_x_ray_in_order(run: Program) -> None:
    ran = run("doctor", "--json")
    assert ran.code == 0, ran.out
    found = {finding["name"]: finding for finding in ran.json}
    assert set(found) >= {
        "settings",
        "data folder",
        "database",
        "schema",
        "clock",
        "grpc_port",
        "http_port",
        "reasoner",
    }
    assert "X-Ray is up" in found["http_port"]["detail"]


def test_the_doctor_says_what_to_do(run: Program, server: XRay) -> None:
    unreachable = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    ran = run("doctor", XRAY_DATABASE_URL="postgresql://a@127.0.0.1:1/none", **unreachable)
    assert ran.code == 1
    assert "✗ database" in ran.out
    assert "Correct XRAY_DATABASE_URL" in ran.out
    assert "✗ reasoner" in ran.out
    assert "Correct OPENAI_BASE_URL" in ran.out
    wrong = run("doctor", XRAY_WORKERS="0")
    assert (wrong.code, "XRAY_WORKERS=0" in wrong.out) == (1, True)


def test_migrating_beside_a_running_x_ray_changes_nothing(run: Program) -> None:
    ran = run("migrate")
    assert ran.code == 0, ran.err
    assert "as before" in ran.out


def test_remapping_with_the_same_mapping_changes_nothing(run: Program, trace_ids: list[str]) -> None:
    assert trace_ids
    for arguments in ((), ("--since", "1h")):
        ran = run("remap", *arguments)
        assert ran.code == 0, ran.err
        assert ran.out.endswith("0 steps changed.\n")
    wrong = run("remap", "--since", "yesterday")
    assert (wrong.code, "--since='yesterday'" in wrong.err) == (2, True)


def test_a_second_x_ray_on_the_same_folder_is_refused(server: XRay) -> None:
    ran = xray("up", XRAY_DATA_DIR=str(server.data_dir), XRAY_HTTP_PORT="0", XRAY_GRPC_PORT="0")
    assert (ran.code, "Traceback" in ran.err) == (2, False)
    assert str(server.data_dir) in ran.err

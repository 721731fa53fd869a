"""Reasoning over REST: asking for it, its jobs, its figures."""

from typing import Any

import pytest

from api.services import Services
from collector.store.database import Database

from .conftest import Client, Send
from .spans import span, span_id, trace_id

JOBS = "/api/v1/reasoning/jobs"
EXECUTION = f"/api/v1/executions/{trace_id(1)}"


@pytest.fixture
async def failed_trace(send: Send) -> None:
    """A root with one step that failed: three jobs, the gate first."""
    await send(span(1, 1), span(1, 2, status="error"), span(1, 3))


async def set_jobs(database: Database, status: str, errors: str = "[]") -> None:
    async with database.connection() as conn:
        await conn.execute("UPDATE reasoning_jobs SET status = $1, errors = $2::json, attempts = 5", status, errors)


async def explain(database: Database, span: bytes, **values: Any) -> None:
    """A finished explanation, as a worker leaves it."""
    row = {"text": "It worked.", "revision": 3, "tokens_input": 70, "tokens_output": 7, "cost_usd": 0.25} | values
    async with database.connection() as conn, conn.transaction():
        await conn.execute("DELETE FROM reasoning_jobs WHERE span_id = $1", span)
        await conn.execute(
            f"INSERT INTO reasonings (project_id, trace_id, span_id, reasoner, attempts, {', '.join(row)}) "
            f"VALUES (1, $1, $2, 'rules', 1, {', '.join(f'${n}' for n in range(3, 3 + len(row)))})",
            bytes.fromhex(trace_id(1)),
            span,
            *row.values(),
        )


@pytest.mark.usefixtures("failed_trace")
async def test_jobs_are_listed_and_found_by_their_public_id(client: Client) -> None:
    jobs = (await client.get(JOBS, params={"execution_id": trace_id(1)})).json()["items"]
    assert {job["span_id"] for job in jobs} == {None, span_id(1), span_id(2)}
    assert {job["status"] for job in jobs} == {"pending"}
    assert all(job["run_at"] is None for job in jobs if job["span_id"])
    for job in jobs:
        assert (await client.get(f"{JOBS}/{job['id']}")).json() == job
    assert (await client.get(f"{JOBS}/{trace_id(1)}.")).json()["span_id"] is None
    assert (await client.get(f"{JOBS}/{trace_id(1)}")).json()["span_id"] is None


@pytest.mark.usefixtures("failed_trace")
async def test_pages_of_jobs_hold_each_once(client: Client, send: Send) -> None:
    await send(*(span(number, 1) for number in range(2, 12)))
    params, seen = {"limit": "7"}, []
    while True:
        page = (await client.get(JOBS, params=params)).json()
        seen += [job["id"] for job in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert len(seen) == len(set(seen)) == 3 + 20


@pytest.mark.usefixtures("failed_trace")
async def test_pending_reasoning_is_shown_then_what_came_of_it(client: Client, database: Database) -> None:
    waiting = (await client.get(EXECUTION)).json()
    assert (waiting["reasoning"]["status"], waiting["reasoning"]["text"]) == ("pending", None)
    assert [step["reasoning"] and step["reasoning"]["status"] for step in waiting["steps"]] == ["pending"] * 2 + [None]
    cause = f'{{"span_id": "{span_id(2)}", "confidence": 0.9, "evidence": ["it failed first"]}}'
    await explain(database, b"", facts='{"steps": 3}', root_cause=cause)
    await explain(database, bytes.fromhex(span_id(2)), text="No shelf.")
    done = (await client.get(EXECUTION)).json()
    own = done["reasoning"]
    assert (own["status"], own["text"], own["stale"], own["facts"]) == ("completed", "It worked.", False, {"steps": 3})
    assert own["root_cause"] == {"span_id": span_id(2), "confidence": 0.9, "evidence": ["it failed first"]}
    assert done["steps"][1]["reasoning"]["text"] == "No shelf."
    (listed,) = (await client.get("/api/v1/executions")).json()["items"]
    assert listed["reasoning"] == own


@pytest.mark.usefixtures("failed_trace")
async def test_reasoning_is_stale_as_soon_as_another_step_comes(client: Client, send: Send, database: Database) -> None:
    await explain(database, b"")
    await send(span(1, 4))
    own = (await client.get(EXECUTION)).json()["reasoning"]
    assert (own["stale"], own["status"], own["text"]) == (True, "pending", "It worked.")


@pytest.mark.usefixtures("failed_trace")
async def test_a_failed_job_tells_why_and_can_be_retried_once(client: Client, database: Database) -> None:
    await set_jobs(database, "failed", '[{"message": "first"}, {"message": "model said 500"}]')
    own = (await client.get(EXECUTION)).json()["reasoning"]
    assert (own["status"], own["error"], own["attempts"]) == ("failed", "model said 500", 5)
    answer = await client.post(f"{JOBS}/{trace_id(1)}.{span_id(2)}/retry")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    again = await client.post(f"{JOBS}/{trace_id(1)}.{span_id(2)}/retry")
    assert (again.status_code, again.json()["detail"][:18]) == (409, "The job is pending")


@pytest.mark.usefixtures("failed_trace")
async def test_cancelling_the_executions_own_job_cancels_all_of_them(client: Client) -> None:
    assert (await client.post(f"{JOBS}/{trace_id(1)}./cancel")).status_code == 202
    jobs = (await client.get(JOBS)).json()["items"]
    assert {job["status"] for job in jobs} == {"cancelled"}
    own = (await client.get(EXECUTION)).json()["reasoning"]
    assert (own["status"], own["error"]) == ("skipped", "cancelled")
    assert (await client.post(f"{JOBS}/{trace_id(1)}./cancel")).status_code == 409


@pytest.mark.usefixtures("failed_trace")
async def test_reasoning_is_asked_for_with_or_without_a_body(client: Client, database: Database) -> None:
    await explain(database, b"")
    for body, expected in ((None, 3), ({"force": True}, 3), ({"steps": [span_id(3)]}, 1)):
        answer = await client.post(f"{EXECUTION}/reasoning", json=body)
        assert (answer.status_code, answer.json()) == (202, {"enqueued": expected}), body
    empty = await client.post(f"{EXECUTION}/reasoning", content=b"")
    assert empty.status_code == 202
    job = (await client.get(f"{JOBS}/{trace_id(1)}.{span_id(3)}")).json()
    assert (job["status"], job["priority"]) == ("pending", 1)


@pytest.mark.usefixtures("failed_trace")
async def test_what_failed_is_processed_again_on_request(client: Client, database: Database) -> None:
    await set_jobs(database, "failed")
    answer = await client.post("/api/v1/reasoning/process", json={"status": "failed"})
    assert (answer.status_code, answer.json()) == (202, {"enqueued": 3})
    answer = await client.post("/api/v1/reasoning/process", json={"execution_id": trace_id(1)})
    assert (answer.status_code, answer.json()) == (202, {"enqueued": 3})


@pytest.mark.usefixtures("failed_trace")
async def test_figures_of_reasoning(client: Client, database: Database) -> None:
    await explain(database, b"")
    found = (await client.get("/api/v1/reasoning/stats")).json()
    expected = {"pending": 2, "processing": 0, "completed": 1, "failed": 0, "cancelled": 0}
    assert found == expected | {"oldest_pending_age_s": 0.0, "tokens": 77, "cost_usd": 0.25}


IMPOSSIBLE: list[tuple[str, Any, int]] = [
    (f"{EXECUTION}/reasoning", {"steps": ["xyz"]}, 400),
    (f"{EXECUTION}/reasoning", {"steps": [span_id(9)]}, 404),
    (f"{EXECUTION}/reasoning", {"step": span_id(1)}, 400),
    (f"/api/v1/executions/{trace_id(7)}/reasoning", None, 404),
    ("/api/v1/reasoning/process", {}, 400),
    ("/api/v1/reasoning/process", {"status": "completed"}, 400),
    ("/api/v1/reasoning/process", {"status": "failed", "execution_id": "x"}, 400),
    ("/api/v1/reasoning/process", None, 400),
    ("/api/v1/reasoning/process", {"execution_id": "x"}, 404),
    (f"{JOBS}/{trace_id(1)}.{span_id(3)}/retry", None, 404),
    (f"{JOBS}/nonsense/retry", None, 404),
    (f"{JOBS}/{trace_id(1)}.12/cancel", None, 404),
]


@pytest.mark.usefixtures("failed_trace")
async def test_a_wish_that_is_not_possible_is_a_problem(client: Client) -> None:
    for path, body, status in IMPOSSIBLE:
        answer = await client.post(path, json=body)
        found = (answer.status_code, answer.headers["content-type"])
        assert found == (status, "application/problem+json"), (path, body, answer.text)


@pytest.mark.usefixtures("failed_trace")
async def test_where_the_reasoner_is_off_nothing_is_queued_and_the_setting_is_named(
    client: Client, services: Services, database: Database
) -> None:
    await set_jobs(database, "failed")
    services.explains = False
    wishes: list[tuple[str, Any]] = [
        (f"{EXECUTION}/reasoning", None),
        ("/api/v1/reasoning/process", {"status": "failed"}),
        (f"{JOBS}/{trace_id(1)}./retry", None),
    ]
    for path, body in wishes:
        answer = await client.post(path, json=body)
        assert (answer.status_code, "XRAY_REASONER=off" in answer.json()["detail"]) == (409, True), path
    assert (await client.get(JOBS, params={"status": "pending"})).json()["items"] == []


async def test_a_body_that_is_no_json_is_a_400(client: Client) -> None:
    answer = await client.post("/api/v1/reasoning/process", content=b"{", headers={"content-type": "application/json"})
    assert answer.status_code == 400

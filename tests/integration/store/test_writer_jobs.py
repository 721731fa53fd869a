"""Jobs that come with rows: one for each step worth explaining, and the execution's gate."""

import json

import pytest

from collector.model import EXECUTION_SPAN, OriginRow
from collector.store.database import Database
from collector.store.writer import WriterOptions
from tests.integration.store.writer_rows import (
    OPTIONS,
    batch,
    execution,
    jobs,
    record,
    root,
    rows,
    step,
    trace,
    writing,
)

SETTLE_S, LIMIT_S = 2.0, 300.0


async def change_gate(database: Database, assignments: str) -> None:
    await rows(database, f"UPDATE reasoning_jobs SET {assignments} WHERE span_id = ''")


async def test_steps_worth_explaining_wait_for_their_executions_gate(database: Database) -> None:
    one = trace()
    explained = {"root": root(one, kind="chain"), "kind": step(one, kind="llm"), "failed": step(one, status="error")}
    async with writing(database) as writer:
        await writer.write(batch([*explained.values(), step(one), step(one, kind="http")]))
    found = await jobs(database, one)
    gate = found.pop(EXECUTION_SPAN)
    assert set(found) == {row.span_id for row in explained.values()}
    assert all(job["waits"] for job in found.values())
    assert found[explained["failed"].span_id]["priority"] == 0 == gate["priority"]
    assert found[explained["kind"].span_id]["priority"] == 5
    assert SETTLE_S - 1 < gate["due_in_s"] <= SETTLE_S
    assert LIMIT_S - 1 < gate["settle_in_s"] <= LIMIT_S
    assert gate["revision"] == 5


async def test_without_a_reasoner_executions_still_settle(database: Database) -> None:
    one = trace()
    async with writing(database, WriterOptions(explained_kinds=OPTIONS.explained_kinds, explain=False)) as writer:
        await writer.write(batch([root(one), step(one, kind="llm", status="error")]))
    assert set(await jobs(database, one)) == {EXECUTION_SPAN}


@pytest.mark.parametrize("marker", [True, "true"])
async def test_our_own_traces_are_kept_and_never_explained(database: Database, marker: bool | str) -> None:
    resource = json.dumps({"attributes": {"service.name": "xray", "xray.internal": marker}})
    ours = OriginRow(1, b"x" * 16, "xray", resource, "{}", b"")
    one = trace()
    async with writing(database) as writer:
        await writer.write(batch([root(one, origin_id=ours.origin_id, status="error")], (), ours))
        await writer.write(batch((), [record(one, origin_id=ours.origin_id)], ours))
    assert await jobs(database, one) == {}
    assert (await execution(database, one))["revision"] == 2


async def test_a_users_service_called_xray_is_explained(database: Database) -> None:
    theirs = OriginRow(1, b"x" * 16, "xray", '{"attributes":{"service.name":"xray"}}', "{}", b"")
    one = trace()
    async with writing(database) as writer:
        await writer.write(batch([root(one, origin_id=theirs.origin_id)], (), theirs))
    assert len(await jobs(database, one)) == 2


async def test_a_later_span_moves_the_gate_but_not_past_its_limit(database: Database) -> None:
    one = trace()
    async with writing(database) as writer:
        await writer.write(batch([root(one)]))
        await change_gate(database, "run_at = now() - interval '1 s'")
        await writer.write(batch([step(one)]))
        moved = (await jobs(database, one))[EXECUTION_SPAN]
        await change_gate(database, "settle_by = now() + interval '0.5 s'")
        await writer.write(batch([step(one)]))
        bounded = (await jobs(database, one))[EXECUTION_SPAN]
    assert SETTLE_S - 1 < moved["due_in_s"] <= SETTLE_S
    assert bounded["due_in_s"] <= 0.5
    assert bounded["revision"] == 3


async def test_a_taken_gate_only_learns_that_there_is_more(database: Database) -> None:
    one = trace()
    taken = "status = 'processing', lease_token = gen_random_uuid(), attempts = 1"
    async with writing(database) as writer:
        await writer.write(batch([root(one)]))
        await change_gate(database, taken)
        before = (await jobs(database, one))[EXECUTION_SPAN]
        await writer.write(batch([step(one, status="error")], [record(one)]))
    after = (await jobs(database, one))[EXECUTION_SPAN]
    assert (after["revision"], after["priority"]) == (3, 0)
    unchanged = ("status", "run_at", "settle_by", "lease_token", "attempts")
    assert [after[name] for name in unchanged] == [before[name] for name in unchanged]


@pytest.mark.parametrize("ended", ["failed", "cancelled"])
async def test_a_late_span_starts_an_ended_gate_anew(database: Database, ended: str) -> None:
    one = trace()
    async with writing(database) as writer:
        await writer.write(batch([root(one)]))
        await change_gate(
            database, f"status = '{ended}', attempts = 5, snoozes = 2, settle_by = now() - interval '1 h'"
        )
        await writer.write(batch([step(one)]))
    gate = (await jobs(database, one))[EXECUTION_SPAN]
    assert (gate["status"], gate["attempts"], gate["snoozes"]) == ("pending", 0, 0)
    assert SETTLE_S - 1 < gate["due_in_s"] <= SETTLE_S
    assert gate["settle_in_s"] > LIMIT_S - 1


@pytest.mark.parametrize("counter", ["attempts", "snoozes"])
async def test_a_gate_that_waits_to_be_tried_again_keeps_its_time(database: Database, counter: str) -> None:
    one = trace()
    async with writing(database) as writer:
        await writer.write(batch([root(one)]))
        await change_gate(database, f"{counter} = 1, run_at = now() + interval '60 s', settle_by = now()")
        await writer.write(batch([step(one)]))
    assert 50 < (await jobs(database, one))[EXECUTION_SPAN]["due_in_s"] <= 60


async def test_a_late_span_arms_a_new_gate_and_only_its_own_job(database: Database) -> None:
    one = trace()
    async with writing(database) as writer:
        await writer.write(batch([root(one)]))
        await rows(database, "DELETE FROM reasoning_jobs")
        late = step(one, kind="tool")
        await writer.write(batch([late]))
    found = await jobs(database, one)
    assert set(found) == {late.span_id, EXECUTION_SPAN}
    assert found[EXECUTION_SPAN]["revision"] == 1


async def test_a_late_record_raises_the_revision_and_arms_the_gate(database: Database) -> None:
    one = trace()
    async with writing(database) as writer:
        await writer.write(batch([root(one)]))
        before = await execution(database, one)
        await rows(database, "DELETE FROM reasoning_jobs")
        late = record(one)
        for _ in range(2):
            await writer.write(batch((), [late]))
    after = await execution(database, one)
    moved = {name for name in after if after[name] != before[name]}
    assert moved == {"revision", "last_received_at"}
    assert after["revision"] == 2
    assert (await jobs(database, one))[EXECUTION_SPAN]["revision"] == 1


async def test_records_alone_make_no_execution(database: Database) -> None:
    known, unknown = trace(), trace()
    async with writing(database) as writer:
        await writer.write(batch([root(known)]))
        await writer.write(batch((), [record(known), record(unknown), record(unknown)]))
    assert len(await rows(database, "SELECT FROM records")) == 3
    assert [row["trace_id"] for row in await rows(database, "SELECT trace_id FROM executions")] == [known]
    assert await jobs(database, unknown) == {}

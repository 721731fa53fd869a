"""Any order, split and repetition of an execution's rows ends in the same rows."""

import asyncio
import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector.model import EXECUTION_SPAN, StepRow
from collector.store.database import Database
from tests.integration.store.writer_rows import batch, execution, jobs, step, trace, writing

NOT_COMPARED = {"trace_id", "first_received_at", "last_received_at"}

starts = st.sampled_from([1_700_000_000 * 10**9, 1_700_000_000 * 10**9 + 1, 1_700_000_001 * 10**9, 5])
spans = st.fixed_dictionaries(
    {
        "span_id": st.binary(min_size=8, max_size=8),
        "start_ns": starts,
        "duration_ns": st.sampled_from([None, 0, 999, 10**9]),
        "parent_span_id": st.sampled_from([None, b"parent-1"]),
        "name": st.sampled_from(["a", "b", "ü"]),
        "kind": st.sampled_from(["agent", "llm", "http"]),
        "status": st.sampled_from(["unset", "ok", "error"]),
        "service": st.sampled_from([None, "shop", "cart"]),
        "extra": st.sampled_from(
            [None, '{"execution_id":"Z"}', '{"execution_id":"é"}', '{"execution_id":"a","agent":"x"}']
        ),
    }
)


async def written(database: Database, parts: list[list[StepRow]], at_once: bool) -> dict[str, Any]:
    """What the database holds of the execution, without what must differ."""
    async with writing(database) as writer:
        if at_once:
            await asyncio.gather(*(writer.write(batch(part)) for part in parts))
        else:
            for part in parts:
                await writer.write(batch(part))
    trace_id = parts[0][0].trace_id
    merged = {name: value for name, value in (await execution(database, trace_id)).items() if name not in NOT_COMPARED}
    found = await jobs(database, trace_id)
    gate = found.pop(EXECUTION_SPAN)
    return merged | {
        "jobs": {span_id: job["priority"] for span_id, job in found.items()},
        "gate": (gate["revision"], gate["priority"]),
    }


def shuffled(rows: list[StepRow], rng: random.Random) -> list[list[StepRow]]:
    """The rows in another order, in several parts, some of them twice."""
    rows = rows + rng.sample(rows, rng.randrange(len(rows) + 1))
    rng.shuffle(rows)
    cuts = sorted(rng.sample(range(1, len(rows)), min(rng.randrange(4), len(rows) - 1)))
    return [rows[start:end] for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    columns=st.lists(spans, min_size=1, max_size=8, unique_by=lambda span: span["span_id"]),
    rng=st.randoms(use_true_random=False),
    at_once=st.booleans(),
)
async def test_order_split_and_repetition_do_not_matter(
    database: Database, columns: list[dict[str, Any]], rng: random.Random, at_once: bool
) -> None:
    one, other = trace(), trace()
    plain = await written(database, [[step(one, **each) for each in columns]], at_once=False)
    assert await written(database, shuffled([step(other, **each) for each in columns], rng), at_once) == plain
    assert plain["step_count"] == len(columns)

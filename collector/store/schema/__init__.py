"""The one MetaData: every table of X-Ray.

Every key carries `trace_id`, so that the same schema can be distributed by it. JSON columns are `json`, not `jsonb`:
the text comes back exactly as it went in (an int stays an int, a double a double), and it costs less to store.
Changing a table means a migration in `migrations/versions/`; a test compares the two.
"""

from collector.store.schema.columns import JsonText, metadata
from collector.store.schema.content import executions, origins, projects, records, steps
from collector.store.schema.figures import step_rollup_parts, step_rollups
from collector.store.schema.queue import (
    provider_slots,
    provider_states,
    reasoning_answers,
    reasoning_jobs,
    reasoning_spend,
    reasonings,
)
from collector.store.schema.settings import model_prices
from collector.store.schema.upkeep import remap_runs

__all__ = [
    "JsonText",
    "executions",
    "metadata",
    "model_prices",
    "origins",
    "projects",
    "provider_slots",
    "provider_states",
    "reasoning_answers",
    "reasoning_jobs",
    "reasoning_spend",
    "reasonings",
    "records",
    "remap_runs",
    "step_rollup_parts",
    "step_rollups",
    "steps",
]

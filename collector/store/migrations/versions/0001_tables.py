"""Every table of the first release."""

from datetime import date, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

DAYS_AHEAD = 7

TABLES = (
    """
    CREATE TABLE projects (
        id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        name text NOT NULL UNIQUE,
        retention_days integer,
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "INSERT INTO projects (name) VALUES ('default')",
    # The resource and scope that many spans share.
    """
    CREATE TABLE origins (
        project_id integer NOT NULL,
        origin_id bytea NOT NULL,
        service text,
        resource json {wide} NOT NULL,
        scope json {wide} NOT NULL,
        wire bytea {wide} NOT NULL,
        seen_on date NOT NULL DEFAULT CURRENT_DATE,
        PRIMARY KEY (project_id, origin_id)
    )
    """,
    # One row a trace, merged from its steps in any order.
    """
    CREATE TABLE executions (
        project_id integer NOT NULL,
        trace_id bytea NOT NULL,
        root_order bytea NOT NULL,
        name text NOT NULL,
        kind text NOT NULL,
        service text,
        root_status text NOT NULL,
        settled boolean NOT NULL DEFAULT false,
        status text NOT NULL GENERATED ALWAYS AS (
            CASE WHEN root_status = 'error' THEN 'error'
                 WHEN get_byte(root_order, 0) = 0 OR substr(root_order, 18) = '\\x01'::bytea OR settled THEN 'ok'
                 ELSE 'running' END
        ) STORED,
        started_at timestamptz NOT NULL,
        ended_at timestamptz NOT NULL,
        step_count integer NOT NULL,
        error_count integer NOT NULL,
        revision integer NOT NULL,
        first_received_at timestamptz NOT NULL,
        last_received_at timestamptz NOT NULL,
        execution_id text,
        session_id text,
        user_id text,
        environment text,
        tags text[],
        models text[],
        metadata json {wide},
        final_outcome json {wide},
        tokens_input bigint,
        tokens_output bigint,
        tokens_cached bigint,
        tokens_cache_write bigint,
        tokens_reasoning bigint,
        cost_usd double precision,
        prices_at date,
        root_missing boolean,
        plumbing boolean NOT NULL DEFAULT false,
        warnings json {wide},
        PRIMARY KEY (project_id, trace_id)
    ) WITH (fillfactor = 80)
    """,
    "CREATE INDEX executions_latest ON executions (project_id, started_at DESC, trace_id DESC)",
    "CREATE INDEX executions_service ON executions (project_id, service, started_at DESC, trace_id DESC)",
    "CREATE INDEX executions_errors ON executions (project_id, started_at DESC, trace_id DESC) WHERE error_count > 0",
    "CREATE INDEX executions_own_id ON executions (project_id, execution_id) WHERE execution_id IS NOT NULL",
    "CREATE INDEX executions_session ON executions (project_id, session_id) WHERE session_id IS NOT NULL",
    """
    CREATE TABLE steps (
        project_id integer NOT NULL,
        trace_id bytea NOT NULL,
        span_id bytea NOT NULL,
        started_at timestamptz NOT NULL,
        start_ns bigint NOT NULL,
        duration_ns bigint,
        parent_span_id bytea,
        name text NOT NULL,
        kind text NOT NULL,
        span_kind integer NOT NULL,
        status text NOT NULL,
        status_code integer NOT NULL,
        status_message text,
        error_type text,
        error_message text,
        error_stacktrace text {wide},
        service text,
        input json {wide},
        output json {wide},
        input_key text,
        output_key text,
        model text,
        provider text,
        tool text,
        session_id text,
        user_id text,
        tokens_input bigint,
        tokens_output bigint,
        tokens_cached bigint,
        tokens_cache_write bigint,
        tokens_reasoning bigint,
        cost_usd double precision,
        cost_source text,
        extra json {wide},
        attributes json {wide} NOT NULL,
        events json {wide},
        links json {wide},
        origin_id bytea NOT NULL,
        flags bigint,
        trace_state text,
        warnings json {wide},
        wire bytea {wide},
        received_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (project_id, trace_id, span_id, started_at)
    ) PARTITION BY RANGE (started_at)
    """,
    # For times outside of the days that have a partition of their own.
    "CREATE TABLE steps_default PARTITION OF steps DEFAULT",
    # Log records, joined to their steps when they are read.
    """
    CREATE TABLE records (
        project_id integer NOT NULL,
        trace_id bytea NOT NULL,
        span_id bytea NOT NULL,
        record_id bytea NOT NULL,
        time_ns bigint NOT NULL,
        event_name text,
        severity integer NOT NULL,
        body json {wide},
        attributes json {wide} NOT NULL,
        origin_id bytea NOT NULL,
        warnings json {wide},
        received_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (project_id, trace_id, span_id, record_id)
    )
    """,
    "CREATE INDEX records_received ON records USING brin (received_at)",
    # Live work only; the empty span_id is the execution's own job.
    """
    CREATE TABLE reasoning_jobs (
        project_id integer NOT NULL,
        trace_id bytea NOT NULL,
        span_id bytea NOT NULL,
        status text NOT NULL DEFAULT 'pending',
        priority smallint NOT NULL DEFAULT 5,
        run_at timestamptz NOT NULL DEFAULT 'infinity',
        settle_by timestamptz NOT NULL DEFAULT 'infinity',
        revision integer NOT NULL DEFAULT 0,
        attempts smallint NOT NULL DEFAULT 0,
        snoozes integer NOT NULL DEFAULT 0,
        forced boolean NOT NULL DEFAULT false,
        cancel_asked boolean NOT NULL DEFAULT false,
        lease_token uuid,
        lease_until timestamptz,
        worker text,
        errors json,
        created_at timestamptz NOT NULL DEFAULT now(),
        changed_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (project_id, trace_id, span_id),
        CONSTRAINT reasoning_jobs_status CHECK (status IN ('pending', 'processing', 'failed', 'cancelled')),
        CONSTRAINT reasoning_jobs_lease CHECK ((status = 'processing') = (lease_token IS NOT NULL))
    ) WITH (
        fillfactor = 70,
        autovacuum_vacuum_scale_factor = 0.01,
        autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0
    )
    """,
    """
    CREATE INDEX reasoning_jobs_due ON reasoning_jobs (priority, run_at, trace_id)
        WHERE status = 'pending' AND run_at < 'infinity'
    """,
    "CREATE INDEX reasoning_jobs_leased ON reasoning_jobs (lease_until) WHERE status = 'processing'",
    """
    CREATE TABLE reasonings (
        project_id integer NOT NULL,
        trace_id bytea NOT NULL,
        span_id bytea NOT NULL,
        status text NOT NULL DEFAULT 'completed',
        text text {wide},
        facts json {wide},
        root_cause json {wide},
        reasoner text NOT NULL,
        model text,
        prompt_version text,
        revision integer NOT NULL,
        attempts smallint NOT NULL,
        tokens_input bigint NOT NULL DEFAULT 0,
        tokens_output bigint NOT NULL DEFAULT 0,
        cost_usd double precision,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (project_id, trace_id, span_id),
        CONSTRAINT reasonings_status CHECK (status IN ('completed', 'skipped'))
    )
    """,
    "CREATE INDEX reasonings_created ON reasonings (project_id, created_at DESC)",
    # Jobs and results as one list, for people who use SQL.
    """
    CREATE VIEW reasoning_ledger AS
    SELECT project_id, trace_id, span_id, status, attempts, priority, run_at,
           errors -> -1 ->> 'message' AS error,
           NULL::text AS model, NULL::text AS reasoner, NULL::bigint AS tokens_input, NULL::bigint AS tokens_output,
           NULL::double precision AS cost_usd, created_at,
           CASE WHEN status IN ('failed', 'cancelled') THEN changed_at END AS finished_at
    FROM reasoning_jobs
    UNION ALL
    SELECT project_id, trace_id, span_id, status, attempts, NULL::smallint, NULL::timestamptz, NULL::text,
           model, reasoner, tokens_input, tokens_output, cost_usd, created_at, created_at
    FROM reasonings
    """,
)


def upgrade() -> None:
    connection = op.get_bind()
    wide = "COMPRESSION lz4" if _has_lz4(connection) else ""
    for statement in TABLES:
        connection.exec_driver_sql(statement.replace("{wide}", wide))
    for day in _first_days(connection):
        connection.exec_driver_sql(
            f"CREATE TABLE steps_{day:%Y%m%d} PARTITION OF steps "
            f"FOR VALUES FROM ('{day} 00:00:00+00') TO ('{day + timedelta(days=1)} 00:00:00+00')"
        )


def _has_lz4(connection: sa.Connection) -> bool:
    question = "SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
    return bool(connection.exec_driver_sql(question).scalar())


def _first_days(connection: sa.Connection) -> list[date]:
    today: date = connection.exec_driver_sql("SELECT (now() AT TIME ZONE 'UTC')::date").scalar_one()
    return [today + timedelta(days=ahead) for ahead in range(-1, DAYS_AHEAD + 1)]

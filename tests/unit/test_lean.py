"""What a start loads: a library that is not used costs memory for good, and time at each start."""

import subprocess
import sys

import pytest

UNUSED = ("sqlalchemy.orm", "alembic", "rich.console", "pygments", "openai", "opentelemetry.sdk", "litestar")


def loaded_by(*modules: str) -> set[str]:
    """The modules of a new process that has imported these."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_a_start_loads_nothing_that_it_does_not_use() -> None:
    loaded = loaded_by("collector.cli", "collector.commands.up", "collector.app")
    assert {"structlog.dev", "sqlalchemy.ext.asyncio"} <= loaded
    assert not loaded.intersection(UNUSED)


@pytest.mark.parametrize("first", ["sqlalchemy.ext.asyncio", "sqlalchemy.ext.asyncio.session"])
def test_sessions_are_there_for_who_asks(first: str) -> None:
    code = (
        f"import collector, {first}\nfrom sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, engine\n"
        "print(AsyncSession.__module__, AsyncConnection is engine.AsyncConnection)"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == ["sqlalchemy.ext.asyncio.session", "True"]


def test_dropped_code_runs_again() -> None:
    code = (
        "import sqlite3, ssl, sys\nfrom collector.footprint import drop_code\n"
        "resident = lambda: int(open('/proc/self/statm').read().split()[2])\n"
        "before = resident(); drop_code(); after = resident()\n"
        "print(after < before, sqlite3.connect(':memory:').execute('SELECT 7').fetchone()[0])"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == ["True", "7"]

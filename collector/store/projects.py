"""Reads of projects."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from collector.store.schema import projects


async def find_project(conn: AsyncConnection, name: str) -> int | None:
    """The id of a project; a read never makes one."""
    found: int | None = await conn.scalar(select(projects.c.id).where(projects.c.name == name))
    return found

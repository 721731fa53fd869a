"""Uvicorn inside the process's own loop: bound before anything starts, stopped when the process says so."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from collector.errors import Misconfigured

GRACE_S = 5
BACKLOG = 1024


class _Server(uvicorn.Server):
    """Leaves signals to the process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int, shared: bool = False) -> socket.socket:
    """A listening socket, or Misconfigured saying who is in the way; `shared` lets several processes have it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Misconfigured(
            f"The HTTP port {host}:{port} can't be used ({error.strerror or error}). Stop what holds it, or choose "
            "another one with --http-port or XRAY_HTTP_PORT (0 picks a free one)."
        ) from error
    return listener


@asynccontextmanager
async def serving(
    app: Any, listener: socket.socket, tls: dict[str, Any] | None = None
) -> AsyncIterator[asyncio.Task[None]]:
    """Serves the ASGI app; the task that is given ends only when the server does."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=75,
        backlog=BACKLOG,
        server_header=False,
        date_header=False,
        **(tls or {}),
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    try:
        while not server.started and not task.done():
            await asyncio.sleep(0.001)  # uvicorn tells nobody else
        yield task
    finally:
        server.should_exit = True
        await asyncio.wait([task], timeout=GRACE_S + 5)
        listener.close()

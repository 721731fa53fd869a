"""Uvicorn inside the process's own loop: bound before anything starts, stopped when the process says so."""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from collector.errors import Misconfigured

GRACE_S = 5
BACKLOG = 1024
TAKEN = (errno.EADDRINUSE, errno.EACCES)


class _Server(uvicorn.Server):
    """Leaves signals to the process, and says when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int, shared: bool = False) -> socket.socket:
    """A socket of its own, or Misconfigured saying who is in the way; `shared` lets several processes have it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno not in TAKEN:
            raise Misconfigured(f"XRAY_HOST={host} is no address to listen on ({error.strerror or error}).") from error
        raise Misconfigured(
            f"Port {port} on {host} can't be had ({error.strerror or error}): another program (or X-Ray) may hold it. "
            "Stop it, or choose other ports with XRAY_HTTP_PORT and XRAY_GRPC_PORT (0 picks a free one)."
        ) from error
    return listener


@asynccontextmanager
async def serving(
    app: Any, listener: socket.socket, tls: ssl.SSLContext | None = None
) -> AsyncIterator[asyncio.Task[None]]:
    """Serves the ASGI app; the task that is given ends only when the server does."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=75,
        backlog=BACKLOG,
        server_header=False,
        date_header=False,
        ssl_context_factory=(lambda _config, _default: tls) if tls else None,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    up = asyncio.create_task(server.is_up.wait())
    try:
        await asyncio.wait([task, up], return_when=asyncio.FIRST_COMPLETED)
        yield task
    finally:
        up.cancel()
        server.should_exit = True
        await asyncio.wait([task], timeout=GRACE_S + 5)
        listener.close()

"""REST, loaded by its first request: framework and handlers are a sixth of an idle process.

The load takes a quarter of a second, once.
"""

import asyncio
from collections.abc import Callable

from api.services import Services
from collector.asgi import ASGIApp, Receive, Scope, Send


def load(services: Services, *, serves: bool) -> ASGIApp:
    from api.app import create_app

    return create_app(services, serves=serves)


class Rest:
    """The app that `build` makes, in a thread so that the loop goes on, once it is asked for something."""

    def __init__(self, build: Callable[[], ASGIApp]) -> None:
        self._build = build
        self._building = asyncio.Lock()
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app or await self._built()
        await app(scope, receive, send)

    async def _built(self) -> ASGIApp:
        async with self._building:
            if self._app is None:
                self._app = await asyncio.to_thread(self._build)
            return self._app

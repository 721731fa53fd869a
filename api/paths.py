"""Ids that senders chose may hold slashes: one that comes as `%2F` is part of the id, and no end of it."""

import re
from urllib.parse import unquote

from collector.asgi import ASGIApp, Receive, Scope, Send

ESCAPED = "%2F"
SLASH = re.compile(rb"%2[fF]")


class SlashesKept:
    """Servers undo every escape before the router looks; this leaves those of slashes to whoever reads the id."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path") or b""
        if SLASH.search(raw):
            scope["path"] = unquote(SLASH.sub(b"%252F", raw))
        await self._app(scope, receive, send)


def spellings(part: str) -> tuple[str, ...]:
    """What a part of a path may stand for: `a%2Fb` is most often the id `a/b`, but may be itself."""
    return (part, part.replace(ESCAPED, "/")) if ESCAPED in part else (part,)

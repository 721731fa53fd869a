"""Browsers that export: who may, and what a preflight is told. Off unless origins are configured."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

Headers = list[tuple[bytes, bytes]]
MAX_AGE_S = 7200
USUAL_HEADERS = "content-type, content-encoding, authorization, x-api-key"


class Cors:
    """Origins as written (`https://app.example`), by pattern (`https://*.example`), or `*`; never with credentials."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._origins = tuple(origin.lower().rstrip("/") for origin in origins)

    def is_preflight(self, method: str, headers: Mapping[str, str]) -> bool:
        return bool(self._origins) and method == "OPTIONS" and "access-control-request-method" in headers

    def answer_headers(self, headers: Mapping[str, str]) -> Headers:
        """What every answer to a browser holds; nothing where the origin is not allowed."""
        origin = headers.get("origin")
        if not self._origins or origin is None:
            return []
        allowed = any(fnmatchcase(origin.lower(), pattern) for pattern in self._origins)
        named = [(b"access-control-allow-origin", origin.encode("latin-1"))] if allowed else []
        return [*named, (b"access-control-expose-headers", b"retry-after"), (b"vary", b"origin")]

    def preflight_headers(self, headers: Mapping[str, str]) -> Headers:
        asked = headers.get("access-control-request-headers") or USUAL_HEADERS
        return [
            *self.answer_headers(headers),
            (b"access-control-allow-methods", b"POST"),
            (b"access-control-allow-headers", asked.encode("latin-1")),
            (b"access-control-max-age", str(MAX_AGE_S).encode()),
        ]

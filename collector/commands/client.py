"""Calls of a running X-Ray over REST, for the commands that read."""

import http.client
import json
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from collector.config import LOOPBACK, Settings, load
from collector.errors import Misconfigured, XRayError

LIMIT_S = 30.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - an address to read, not to bind


class Client:
    """A running X-Ray."""

    def __init__(self, url: str | None) -> None:
        settings = load({}, os.environ)
        self.url = (url or usual_url_of(settings)).rstrip("/")
        self._certificate = settings.tls_cert
        if urllib.parse.urlsplit(self.url).scheme not in ("http", "https"):
            raise Misconfigured(f"--url={self.url!r} is no URL of an X-Ray: write it like http://127.0.0.1:4318.")

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        return self.call("GET", path, params)

    def call(self, method: str, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The answer's JSON; XRayError with what went wrong, in words."""
        given = {name: value for name, value in (params or {}).items() if value is not None}
        query = f"?{urllib.parse.urlencode(given)}" if given else ""
        request = urllib.request.Request(f"{self.url}/api/v1{path}{query}", method=method)  # noqa: S310 - see __init__
        try:
            with self._opener().open(request, timeout=LIMIT_S) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise XRayError(_problem(error)) from error
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise XRayError(
                f"No X-Ray answers over HTTP at {self.url} ({_reason(error)}). Start one with `xray up`, "
                "or name the HTTP port of another one."
            ) from error

    def _opener(self) -> urllib.request.OpenerDirector:
        return opener(self.url, self._certificate)


def opener(url: str, certificate: Path | None) -> urllib.request.OpenerDirector:
    """Speaks to this machine without a proxy, and trusts X-Ray's own certificate besides the usual ones."""
    handlers: list[urllib.request.BaseHandler] = []
    if urllib.parse.urlsplit(url).hostname in LOOPBACK:
        handlers.append(urllib.request.ProxyHandler({}))
    if certificate is not None and url.startswith("https:"):
        context = ssl.create_default_context()
        context.load_verify_locations(certificate)
        # The file holds the server's certificate, seldom the authority's: it is trusted as it stands.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


def usual_url_of(settings: Settings) -> str:
    """Where the settings put X-Ray."""
    host = EVERYWHERE.get(settings.host, f"[{settings.host}]" if ":" in settings.host else settings.host)
    return f"{'https' if settings.tls_cert else 'http'}://{host}:{settings.http_port}"


def quoted(path_part: str) -> str:
    return urllib.parse.quote(path_part, safe="")


def _problem(error: urllib.error.HTTPError) -> str:
    try:
        answer = json.load(error)
        return str(answer.get("detail") or answer.get("title"))
    except (ValueError, AttributeError):
        return f"{error.url} answered {error.code}: is that an X-Ray?"


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.HTTPException):  # its text is the bytes that came
        return "what answers there does not speak HTTP/1.1; is it the gRPC port?"
    inner = getattr(error, "reason", error)
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__

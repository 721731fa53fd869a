"""`xray doctor`: what is wrong, and what to do about it. It starts nothing and changes nothing."""

import asyncio
import json
import os
import shutil
import socket
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from rich.text import Text

from collector.commands.client import opener, usual_url_of
from collector.commands.database import running_url
from collector.commands.tables import print_json, screen
from collector.config import Settings, load
from collector.errors import Misconfigured, Unavailable
from collector.store.database import Database
from collector.store.migrate import known_revisions, newest_revision, schema_revision
from collector.store.spool_file import look

LEAST_FREE_BYTES = 1 << 30
CLOCK_LIMIT_S = 5.0
LIMIT_S = 5.0


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at; `advice` is what to do where it is not ok."""

    name: str
    ok: bool
    detail: str
    advice: str = ""


def doctor(options: Mapping[str, Any], *, as_json: bool) -> int:
    """Look at everything; the exit code is 1 where something has to be done."""
    findings = list(examine(options))
    if as_json:
        print_json(msgspec.to_builtins(findings))
    else:
        for finding in findings:
            _print(finding)
    return 0 if all(finding.ok for finding in findings) else 1


def _print(finding: Finding) -> None:
    mark = ("✓ ", "green") if finding.ok else ("✗ ", "red")
    screen().print(Text.assemble(mark, (f"{finding.name:<12}", "bold"), finding.detail), soft_wrap=True)
    if finding.advice:
        screen().print(f"  {'':<12}{finding.advice}", soft_wrap=True)


def examine(options: Mapping[str, Any]) -> Iterator[Finding]:
    try:
        settings = load(options, os.environ)
    except Misconfigured as error:
        yield from (Finding("settings", ok=False, detail=fault) for fault in error.faults)
        return
    yield Finding("settings", ok=True, detail="they fit together")
    yield data_folder(settings)
    yield spool(settings)
    yield from asyncio.run(database(settings))
    yield from ports(settings)
    yield reasoner(settings)


def data_folder(settings: Settings) -> Finding:
    """Whether the folder, or the nearest one above it, can be written and has room."""
    folder = settings.data_dir.absolute()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    free_bytes = shutil.disk_usage(nearest).free
    detail = f"{folder}, {free_bytes / (1 << 30):.1f} GiB free"
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        advice = "Make it writable, or name another folder with --data-dir or XRAY_DATA_DIR."
        return Finding("data folder", ok=False, detail=f"{folder} can't be written", advice=advice)
    if free_bytes < LEAST_FREE_BYTES:
        return Finding(
            "data folder", ok=False, detail=detail, advice="Make room: Postgres stops when the disk is full."
        )
    return Finding("data folder", ok=True, detail=detail)


def spool(settings: Settings) -> Finding:
    """What was acknowledged and is not in Postgres yet; what could not be stored or read needs a person."""
    try:
        kept = [look(folder) for folder in sorted((settings.data_dir / "spool").absolute().glob("[0-9]*"))]
    except sqlite3.Error as error:
        advice = "See that you may read the data folder; X-Ray mends a damaged file when it starts."
        return Finding("spool", ok=False, detail=f"it can't be read ({error})", advice=advice)
    waiting, bad = sum(each.requests for each in kept), sum(each.set_aside for each in kept)
    size_mib = sum(each.size_bytes for each in kept) / (1 << 20)
    damaged = [str(path) for each in kept for path in each.damaged]
    detail = f"{waiting} requests, {size_mib:.1f} MiB wait to be stored" if waiting else "it is empty"
    if bad:
        advice = "See `spool_set_aside` in the log; they are tried again when X-Ray starts."
        return Finding("spool", ok=False, detail=f"{detail}; {bad} of them could not be", advice=advice)
    if damaged:
        advice = "What could be read of it was saved. Delete the file once the rest of it is not missed."
        return Finding(
            "spool", ok=False, detail=f"{detail}; a damaged file is kept: {', '.join(damaged)}", advice=advice
        )
    return Finding("spool", ok=True, detail=detail)


async def database(settings: Settings) -> list[Finding]:
    url = settings.database_url or running_url(settings)
    if url is None:
        return [Finding("database", ok=True, detail="the embedded Postgres; it starts and stops with xray up")]
    try:
        async with asyncio.timeout(LIMIT_S * 3):
            opened = await Database.open(url, pool_size=1)
            try:
                return [*await _server(opened, settings), await _schema(url)]
            finally:
                await opened.close()
    except (Misconfigured, Unavailable, TimeoutError) as error:
        advice = (
            "Correct XRAY_DATABASE_URL, or leave it out for the embedded Postgres." if settings.database_url else ""
        )
        detail = str(error) or f"no answer within {LIMIT_S * 3:g} s"
        return [Finding("database", ok=False, detail=detail, advice=advice if settings.database_url else "")]


async def _server(opened: Database, settings: Settings) -> list[Finding]:
    async with opened.connection() as conn:
        asked_at = time.time()
        row = await conn.fetchrow(
            "SELECT current_setting('server_version') AS version, pg_size_pretty(pg_database_size(current_database())) "
            "AS size, extract(epoch FROM clock_timestamp())::float8 AS now"
        )
        middle = (asked_at + time.time()) / 2
    kind = "yours" if settings.database_url else "embedded, running"
    return [
        Finding("database", ok=True, detail=f"Postgres {row['version']} ({kind}), {row['size']}"),
        clock(row["now"] - middle),
    ]


def clock(ahead_s: float) -> Finding:
    detail = f"the database is {abs(ahead_s):.3f} s {'ahead' if ahead_s > 0 else 'behind'}"
    if abs(ahead_s) <= CLOCK_LIMIT_S:
        return Finding("clock", ok=True, detail=detail)
    return Finding("clock", ok=False, detail=detail, advice="Set both machines' clocks by NTP.")


async def _schema(url: str) -> Finding:
    found, newest = await schema_revision(url), newest_revision()
    if found == newest:
        return Finding("schema", ok=True, detail=f"{found}, the newest")
    if found is not None and found not in known_revisions():
        return Finding("schema", ok=True, detail=f"{found}, from a newer X-Ray than this one ({newest})")
    advice = "Run `xray migrate` (or `xray up`, which does it too)."
    return Finding("schema", ok=False, detail=f"{found or 'empty'}, the newest is {newest}", advice=advice)


def ports(settings: Settings) -> Iterator[Finding]:
    """Each port is free, or X-Ray itself is there."""
    running = _readiness(settings)
    for name in ("grpc_port", "http_port"):
        port = getattr(settings, name)
        taken = _taken(settings.host, port)
        if taken is None:
            yield Finding(name, ok=True, detail=f"{port} is free" if port else "any free one is picked")
        elif running is not None:
            yield Finding(name, ok=True, detail=f"X-Ray is up at {port}")
        else:
            option = f"--{name.replace('_', '-')}"
            advice = f"Stop the program that listens there, or choose another port with {option}."
            yield Finding(name, ok=False, detail=f"{settings.host}:{port}: {taken}", advice=advice)
    for part, state in (running or {}).items():
        yield Finding(part, ok=state == "ok", detail=state, advice="" if state == "ok" else "See X-Ray's log.")


def _taken(host: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.strerror or str(error)
    return None


def _readiness(settings: Settings) -> dict[str, str] | None:
    """What the X-Ray at the HTTP port says of its parts; None where there is none."""
    url = usual_url_of(settings)
    try:
        with opener(url, settings.tls_cert).open(f"{url}/readyz", timeout=LIMIT_S) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        found = _json(error)
    except (OSError, ValueError):
        return None
    parts = found.get("parts") if isinstance(found, dict) else None
    return parts if isinstance(parts, dict) else None


def _json(answer: Any) -> Any:
    try:
        return json.load(answer)
    except ValueError:
        return None


def reasoner(settings: Settings) -> Finding:
    which = settings.resolved_reasoner
    if which == "off":
        return Finding("reasoner", ok=True, detail="off: nothing is explained")
    if which == "rules":
        return Finding("reasoner", ok=True, detail="rules: no model, nothing leaves this machine")
    base = (settings.openai_base_url or "https://api.openai.com/v1").rstrip("/")
    request = urllib.request.Request(f"{base}/models")  # noqa: S310 - the address is the operator's own
    if settings.openai_api_key:
        request.add_header("Authorization", f"Bearer {settings.openai_api_key}")
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:  # noqa: S310 - as above
            return _model(settings, base, _json(answer))
    except urllib.error.HTTPError as error:
        return _refusal(base, error.code)
    except (OSError, ValueError) as error:
        advice = "Correct OPENAI_BASE_URL or the way there, or use XRAY_REASONER=rules."
        return Finding("reasoner", ok=False, detail=f"{base} does not answer: {error}", advice=advice)


def _model(settings: Settings, base: str, answer: Any) -> Finding:
    listed = answer.get("data") if isinstance(answer, dict) else None
    names = {item.get("id") for item in listed or [] if isinstance(item, dict)}
    if names and settings.reasoner_model not in names:
        advice = "Set XRAY_REASONER_MODEL to one that it has."
        return Finding("reasoner", ok=False, detail=f"{base} has no model {settings.reasoner_model!r}", advice=advice)
    return Finding("reasoner", ok=True, detail=f"{settings.reasoner_model} at {base}")


def _refusal(base: str, code: int) -> Finding:
    if code in (401, 403):
        advice = "Set OPENAI_API_KEY to a key that this endpoint knows."
        return Finding("reasoner", ok=False, detail=f"{base} refuses the key ({code})", advice=advice)
    if code == 404:
        return Finding("reasoner", ok=True, detail=f"{base} answers, and has no list of models")
    return Finding(
        "reasoner", ok=False, detail=f"{base} answers {code}", advice="Try again later; jobs wait meanwhile."
    )

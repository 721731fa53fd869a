"""Every setting of X-Ray: read once from options and environment, checked whole, passed down by argument.

A setting is one row of `Settings`; its option is `--http-port` and its variable `XRAY_HTTP_PORT`.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from collector.errors import Misconfigured

Role = Literal["receive", "reason", "serve", "export"]
ROLES: tuple[Role, ...] = ("receive", "reason", "serve", "export")
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
MEBIBYTE = 1 << 20

# Two variables keep the names that the `openai` package gave them.
PLAIN_NAMES = {"openai_api_key": "OPENAI_API_KEY", "openai_base_url": "OPENAI_BASE_URL"}


def default_data_dir() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "xray"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    database_url: str | None = None
    listen_database_url: str | None = None
    """A direct URL for LISTEN where `database_url` goes through a pooler."""
    data_dir: Path = msgspec.field(default_factory=default_data_dir)
    host: str = "127.0.0.1"
    grpc_port: int = 4317
    http_port: int = 4318
    auth: Literal["auto", "on", "off"] = "auto"
    roles: tuple[Role, ...] = ROLES
    workers: int = 1
    migrate: bool = True
    reasoner: Literal["auto", "openai", "rules", "off"] = "auto"
    reasoner_model: str = "gpt-5-mini"
    reasoner_concurrency: int = 4
    reasoner_budget_usd_per_day: float | None = None
    reasoner_budget_tokens_per_day: int | None = None
    reasoner_over_budget: Literal["wait", "rules"] = "wait"
    reasoner_settle_ms: int = 2000
    reasoner_settle_limit_ms: int = 300_000
    """An execution that never falls quiet is explained after this long all the same."""
    reasoner_timeout_ms: int = 60_000
    reasoner_lease_ms: int = 60_000
    reasoner_max_attempts: int = 5
    reasoner_include_content: bool = True
    reasoner_redact: bool = True
    reasoner_redact_patterns: tuple[str, ...] = ()
    redact_storage: bool = False
    openai_api_key: str | None = None
    openai_base_url: str | None = None
    retention_days: int = 30
    prices_file: Path | None = None
    max_projects: int = 1000
    max_message_bytes: int = 64 * MEBIBYTE
    max_inflight_bytes: int = 24 * MEBIBYTE
    spool_bytes: int = 1024 * MEBIBYTE
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    cors_origins: tuple[str, ...] = ()
    ports_file: Path | None = None
    """Where the ports that were picked are written as JSON, for programs that start X-Ray with port 0."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"

    @property
    def resolved_reasoner(self) -> Literal["openai", "rules", "off"]:
        """`auto` means the model where an endpoint is configured, else the rules."""
        if self.reasoner != "auto":
            return self.reasoner
        return "openai" if self.openai_api_key or self.openai_base_url else "rules"

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK


def variable(field: str) -> str:
    return PLAIN_NAMES.get(field, f"XRAY_{field.upper()}")


def load(options: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Settings from command line options (None: not given), then the environment, then defaults.

    Raises Misconfigured with every fault at once.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for field in msgspec.structs.fields(Settings):
        given, source = options.get(field.name), f"--{field.name.replace('_', '-')}"
        if given is None:
            given, source = environ.get(variable(field.name)), variable(field.name)
        if given is None or given == "":
            continue
        try:
            values[field.name] = _convert(given, field.type)
        except (ValueError, msgspec.ValidationError) as error:
            reason = _reason(error, field.type)
            faults.append(f"{source}={given!r}: {reason}. Correct it, or leave it out for the default.")
    settings = Settings(**values)
    faults += _contradictions(settings)
    if faults:
        raise Misconfigured(faults)
    return settings


def _convert(given: Any, wanted: Any) -> Any:
    if isinstance(given, str) and "tuple" in str(wanted):
        given = [part.strip() for part in given.split(",") if part.strip()]
    if isinstance(given, str) and "bool" in str(wanted):
        words = {
            "1": True,
            "true": True,
            "on": True,
            "yes": True,
            "0": False,
            "false": False,
            "off": False,
            "no": False,
        }
        if given.lower() not in words:
            raise ValueError("must be on or off")
        given = words[given.lower()]
    if "Path" in str(wanted):
        return Path(given).expanduser()
    return msgspec.convert(given, wanted, strict=False)


def _reason(error: Exception, wanted: Any) -> str:
    if choices := _choices(wanted):
        return f"possible are {', '.join(choices)}"
    kinds = {wanted, *get_args(wanted)}
    return "must be a whole number" if int in kinds else "must be a number" if float in kinds else str(error)


def _choices(wanted: Any) -> tuple[str, ...]:
    if get_origin(wanted) is Literal:
        return get_args(wanted)
    return next((found for part in get_args(wanted) if (found := _choices(part))), ())


def _contradictions(settings: Settings) -> list[str]:
    return [*_ranges(settings), *_pairs(settings), *_texts(settings)]


def _ranges(settings: Settings) -> list[str]:
    def below(least: int, *names: str) -> list[str]:
        return [name for name in names if not (getattr(settings, name) or 0) >= least]

    ports = [name for name in ("grpc_port", "http_port") if not 0 <= getattr(settings, name) <= 65535]
    positive = below(
        1,
        *("workers", "reasoner_concurrency", "reasoner_max_attempts", "reasoner_lease_ms", "reasoner_timeout_ms"),
        *("max_message_bytes", "max_projects"),
    )
    natural = below(
        0,
        *("retention_days", "reasoner_settle_ms", "reasoner_settle_limit_ms", "spool_bytes"),
        *("reasoner_budget_usd_per_day", "reasoner_budget_tokens_per_day"),
    )
    return [
        *(
            f"{variable(name)}={getattr(settings, name)}: a port lies between 0 and 65535 (0 picks one)."
            for name in ports
        ),
        *(f"{variable(name)}={getattr(settings, name)}: must be 1 or more." for name in positive),
        *(f"{variable(name)}={getattr(settings, name)}: must be 0 or more." for name in natural),
    ]


def _pairs(settings: Settings) -> list[str]:
    url = settings.database_url
    rules = [
        (
            settings.grpc_port == settings.http_port != 0,
            f"XRAY_GRPC_PORT and XRAY_HTTP_PORT are both {settings.http_port}: give them different ports "
            "(4317 and 4318 are the usual ones).",
        ),
        (not settings.roles, f"XRAY_ROLES is empty: name at least one of {', '.join(ROLES)}."),
        (
            bool(url) and not str(url).startswith(("postgresql://", "postgres://")),
            f"XRAY_DATABASE_URL starts with {str(url).split(':', 1)[0][:20]!r}: "
            "it must be postgresql://user@host:port/database.",
        ),
        (
            bool(settings.tls_cert) != bool(settings.tls_key),
            "XRAY_TLS_CERT and XRAY_TLS_KEY belong together: give both, or neither.",
        ),
        (
            settings.reasoner == "openai" and not (settings.openai_api_key or settings.openai_base_url),
            "XRAY_REASONER=openai needs OPENAI_API_KEY (or OPENAI_BASE_URL for an endpoint without keys): "
            "set one, or use XRAY_REASONER=rules.",
        ),
        (
            settings.auth == "on",
            "XRAY_AUTH=on asks for API keys, which this version does not have: stay on 127.0.0.1 without it, "
            "or say XRAY_AUTH=off to accept that anyone who reaches the ports can write and read.",
        ),
        (
            not settings.is_loopback and settings.auth == "auto",
            f"XRAY_HOST={settings.host} can be reached from other machines and this version has no API keys yet: "
            "use 127.0.0.1, or say XRAY_AUTH=off to accept that anyone who reaches the ports can write and read.",
        ),
    ]
    return [message for broken, message in rules if broken]


def _texts(settings: Settings) -> list[str]:
    endpoints = [settings.openai_base_url] if settings.openai_base_url else []
    origins = [origin for origin in settings.cors_origins if origin != "*" and not _is_web(origin)]
    return [
        *(f"OPENAI_BASE_URL={url!r}: it begins with http:// or https://." for url in endpoints if not _is_web(url)),
        *(f"XRAY_CORS_ORIGINS holds {origin!r}: an origin is https://host, or * for all." for origin in origins),
        *(fault for pattern in settings.reasoner_redact_patterns for fault in _pattern_faults(pattern)),
    ]


def _pattern_faults(pattern: str) -> list[str]:
    try:
        re.compile(pattern)
    except re.error as error:
        return [f"XRAY_REASONER_REDACT_PATTERNS holds {pattern!r}, which is no regular expression ({error.msg})."]
    return []


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))

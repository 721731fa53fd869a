"""The settings as options of a command: one option for each field of `Settings`, in groups."""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
import rich_click as click

from collector.config import Settings, variable

Command = TypeVar("Command", bound=Callable[..., Any])

HELP: dict[str, dict[str, str]] = {
    "Where data are kept": {
        "database_url": "A Postgres of your own (14 to 18), postgresql://user@host:port/database; "
        "without it X-Ray brings its own",
        "listen_database_url": "A direct URL for LISTEN where the other one goes through a pooler",
        "data_dir": "Folder of the embedded Postgres and the spool",
        "migrate": "Bring the database to the newest schema at the start",
        "retention_days": "Days that executions are kept; 0 keeps them for ever",
        "spool_bytes": "Bytes that may wait on disk while Postgres is away",
    },
    "Where it listens": {
        "host": "Address to listen on; any but a loopback one needs keys, or auth off",
        "grpc_port": "OTLP over gRPC; 0 picks a free port",
        "http_port": "OTLP over HTTP, and REST; 0 picks a free port",
        "auth": "auto or off (keys, and with them on, come with a later version): off lets other hosts in",
        "roles": "Any of receive, reason, serve, export",
        "workers": "Receiving processes that share the ports",
        "tls_cert": "File with the certificate (PEM) for both ports",
        "tls_key": "File with the key of the certificate",
        "tls_client_ca": "File with the CA that clients' certificates must come from",
        "cors_origins": "Web pages that may send, as https://host or *",
        "ports_file": "File that the ports are written to as JSON once X-Ray is up",
    },
    "Reasoning": {
        "reasoner": "auto (openai where an endpoint is set, else rules), openai, rules or off",
        "reasoner_model": "Name of the model",
        "openai_api_key": "Key of the model's endpoint",
        "openai_base_url": "Any OpenAI-compatible endpoint",
        "reasoner_concurrency": "Executions explained at the same time",
        "reasoner_budget_usd_per_day": "Dollars that a project may cost in a day",
        "reasoner_budget_tokens_per_day": "Tokens that a project may use in a day",
        "reasoner_over_budget": "What happens then: wait, or rules",
        "reasoner_settle_ms": "Quiet time after an execution's last span before it is explained",
        "reasoner_settle_limit_ms": "The longest that an execution is waited for",
        "reasoner_timeout_ms": "The longest that one call of the model may take",
        "reasoner_lease_ms": "How long a worker may be silent before its jobs go to another",
        "reasoner_max_attempts": "Tries before a job is failed",
        "reasoner_include_content": "Whether inputs and outputs are shown to the model",
        "reasoner_redact": "Whether secrets are blacked out before anything leaves for the model",
        "reasoner_redact_patterns": "More regular expressions to black out",
        "redact_storage": "Whether secrets are blacked out before anything is stored",
        "prices_file": "File with model prices of your own (TOML or JSON)",
    },
    "Limits and logs": {
        "max_projects": "Projects that senders may make by naming them",
        "max_message_bytes": "The largest request that is taken",
        "max_inflight_bytes": "Bytes of requests that may be worked on at once; a larger one is worked on alone",
        "log_level": "debug, info, warning or error",
        "log_format": "text or json",
    },
}


def setting_options(*names: str) -> Callable[[Command], Command]:
    """Options for these settings (for all, without names); what is not given comes from the environment."""
    defaults = {field.name: field for field in msgspec.structs.fields(Settings)}

    def decorate(command: Command) -> Command:
        for panel, helps in reversed(HELP.items()):
            chosen = [name for name in helps if not names or name in names]
            for name in reversed(chosen):
                command = _option(defaults[name], helps[name], panel)(command)
        return command

    return decorate


def _option(field: msgspec.structs.FieldInfo, description: str, panel: str) -> Callable[[Command], Command]:
    dashed = field.name.replace("_", "-")
    is_switch = field.type is bool
    return click.option(
        f"--{dashed}/--no-{dashed}" if is_switch else f"--{dashed}",
        field.name,
        default=None,
        type=None if is_switch else str,
        metavar=None if is_switch else _metavar(field),
        help=f"{description} [dim]({variable(field.name)}{_default(field)})[/dim]",
        panel=panel,
    )


def _metavar(field: msgspec.structs.FieldInfo) -> str:
    return field.name.rsplit("_", 1)[-1].upper()


def _default(field: msgspec.structs.FieldInfo) -> str:
    """The default in words; folders differ from machine to machine, and None says nothing."""
    value = field.default
    if value is msgspec.NODEFAULT or value in (None, ()):
        return ""
    if isinstance(value, bool):
        return f", {'on' if value else 'off'}"
    return f", {','.join(value) if isinstance(value, tuple) else value}"

"""`xray up`: read the settings, run everything until it is told to stop."""

import os
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import rich_click as click

from collector.config import Settings, load
from collector.running import run_process

if TYPE_CHECKING:
    from collector.app import Address


def up(options: Mapping[str, Any]) -> None:
    settings = load(options, os.environ)
    run_process(settings, lambda address: announce(settings, address))


def announce(settings: Settings, address: "Address") -> None:
    """Say where everything is, once it can be used."""
    click.echo("\n".join(greeting(settings, address)))


def greeting(settings: Settings, address: "Address") -> list[str]:
    scheme = "https" if settings.tls_cert else "http"
    web = f"{scheme}://{_quoted(address.host)}:{address.http_port}"
    receives = "receive" in address.roles
    rows = [
        ("OTLP gRPC", f"{_quoted(address.host)}:{address.grpc_port}", receives),
        ("OTLP HTTP", f"{web}/v1/traces", receives),
        ("REST", f"{web}/api/v1, described at {web}/schema", "serve" in address.roles),
        ("Roles", ", ".join(address.roles), True),
        ("Data", f"{address.data}, kept {_kept(settings)}", True),
        ("Reasoner", _reasoner(settings, address), True),
    ]
    lines = [
        f"X-Ray {version('xray-collector')} is up",
        *(f"  {name:<10} {text}" for name, text, shown in rows if shown),
    ]
    if receives:
        grpc = f"{scheme}://{_quoted(address.host)}:{address.grpc_port}"
        lines += [
            f"Point an app at it: OTEL_EXPORTER_OTLP_ENDPOINT={grpc} (gRPC)",
            f"                 or OTEL_EXPORTER_OTLP_ENDPOINT={web} (http/protobuf)",
            "Try it: xray demo" + ("" if address.http_port == Settings().http_port else f" --endpoint {web}"),
        ]
    return lines


def _quoted(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _kept(settings: Settings) -> str:
    return f"{settings.retention_days} days" if settings.retention_days else "for ever"


def _reasoner(settings: Settings, address: "Address") -> str:
    if "reason" not in address.roles:
        return "in another process"
    if address.reasoner != "openai":
        return {"rules": "rules (no model: nothing leaves this machine)", "off": "off"}[address.reasoner]
    return f"{settings.reasoner_model} at {settings.openai_base_url or 'api.openai.com'}"

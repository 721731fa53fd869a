"""OpenTelemetry's general attributes: any span may carry them, whatever else it speaks."""

from collector.mapping.dialects.dialect import Dialect

GENERAL = Dialect(
    name="general",
    prefixes=frozenset(("session", "user", "enduser", "code", "peer")),
    evidence=(("code.function.name", "function"), ("code.function", "function")),
    labels={"session": ("session.id",), "user": ("user.id", "enduser.id", "enduser.pseudo.id")},
)

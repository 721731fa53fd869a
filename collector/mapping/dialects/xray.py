"""X-Ray's own attributes, for senders who want them: they win over every other dialect."""

from collector.mapping.dialects.dialect import Composed, Dialect
from collector.mapping.values import any_json
from collector.model import KINDS


def _json_of(key: str) -> Composed:
    """Whatever the sender gave, as JSON: what a text of JSON holds, else the text itself."""
    return Composed((key,), lambda view: any_json(view.attributes[key]))


XRAY = Dialect(
    name="xray",
    prefixes=frozenset(("xray",)),
    kinds=(("xray.step.kind", {kind: kind for kind in KINDS}),),
    evidence=(("xray.step.input", "function"), ("xray.step.output", "function")),
    labels={"execution_id": ("xray.execution.id",)},
    input=("xray.step.input",),
    output=("xray.step.output",),
    extras=(
        ("metadata", _json_of("xray.execution.metadata")),
        ("outcome", _json_of("xray.execution.outcome")),
    ),
)

"""X-Ray's own attributes, for senders who want them: they win over every other dialect."""

from collector.mapping.dialects.dialect import Composed, Dialect, View
from collector.mapping.values import any_json, is_structure, json_text
from collector.model import KINDS


def _metadata(view: View) -> str | None:
    value = view.attributes["xray.execution.metadata"]
    text = value if isinstance(value, str) else json_text(value)
    if is_structure(text) and text[0] == "{":
        return text
    view.notes.warn("xray.execution.metadata is not a JSON object")
    return None


def _outcome(view: View) -> str | None:
    return any_json(view.attributes["xray.execution.outcome"])


XRAY = Dialect(
    name="xray",
    prefixes=frozenset(("xray",)),
    kinds=(("xray.step.kind", {kind: kind for kind in KINDS}),),
    evidence=(("xray.step.input", "function"), ("xray.step.output", "function")),
    labels={"execution_id": ("xray.execution.id",)},
    input=("xray.step.input",),
    output=("xray.step.output",),
    extras=(
        ("metadata", Composed(("xray.execution.metadata",), _metadata)),
        ("outcome", Composed(("xray.execution.outcome",), _outcome)),
    ),
)

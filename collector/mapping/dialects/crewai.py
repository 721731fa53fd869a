"""CrewAI through OpenLLMetry: what its crews, tasks and agents keep beside the GenAI names."""

from typing import Any

from collector.mapping.dialects.dialect import Composed, Dialect, View
from collector.mapping.token_counts import tokens_of
from collector.mapping.values import parse_json
from collector.model import Tokens


def _usage(view: View) -> Tokens | None:
    """The crew's sum, a Python dict of numbers as text."""
    sent: Any = view.attributes["crewai.crew.usage_metrics"]
    return tokens_of(parse_json(sent.replace("'", '"')), view.notes) if isinstance(sent, str) else None


CREWAI = Dialect(
    name="crewai",
    prefixes=frozenset(("crewai",)),
    evidence=(("crewai.agent.role", "agent"), ("crewai.task.id", "chain"), ("crewai.crew.id", "chain")),
    labels={"agent": ("crewai.agent.role",), "label": ("crewai.crew.name",)},
    input=("crewai.task.description",),
    output=("crewai.crew.result",),
    tokens=(Composed(("crewai.crew.usage_metrics",), _usage),),
)

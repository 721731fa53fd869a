"""Gemini CLI and Qwen Code: the steps that are made of their log records."""

from collector.mapping.dialects.dialect import Composed, Dialect, View
from collector.mapping.dialects.readers import failed_when, shown, tag_list, told_error
from collector.mapping.values import count
from collector.model import Tokens


def _tokens(view: View) -> Tokens | None:
    """Thoughts are counted beside the output here, and inside of it everywhere else."""
    names = ("input", "output", "cached_content", "thoughts")
    sent, answered, cached, thoughts = (
        count(view.attributes.get(key := f"{name}_token_count"), key, view.notes) for name in names
    )
    whole = None if answered is None else answered + (thoughts or 0)
    return Tokens(sent, whole, cached, thoughts)


GEMINI_CLI = Dialect(
    name="gemini_cli",
    scopes=("gemini_cli", "qwen-code"),
    names=tuple(
        (f"{cli}.{event}", kind)
        for cli in ("gemini_cli", "qwen-code")
        for event, kind in (("user_prompt", "agent"), ("api_", "llm"), ("tool_call", "tool"))
    ),
    labels={"request_model": ("model",), "tool": ("function_name",), "user": ("user.email",)},
    input=(shown("prompt"), shown("function_args"), shown("request_text")),
    output=(shown("response_text"),),
    tokens=(Composed(("input_token_count", "output_token_count"), _tokens),),
    errors=(failed_when("success", (False, "false"), "error", "error_type"), told_error("error", "error_type")),
    extras=(
        ("finish_reasons", Composed(("finish_reasons",), lambda view: tag_list(view.attributes["finish_reasons"]))),
    ),
)

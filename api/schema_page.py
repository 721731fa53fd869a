"""The API's description for people: one page made here, with nothing loaded from elsewhere."""

from html import escape
from typing import Any

from litestar import Request
from litestar.openapi.plugins import OpenAPIRenderPlugin

STYLE = """
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, h3 { font-family: ui-monospace, monospace } h3 { font-size: 1rem; margin: 0 }
details { border: 1px solid #8884; border-radius: 6px; padding: .5rem .8rem; margin: .4rem 0 }
summary { cursor: pointer } summary h3 { display: inline } table { border-collapse: collapse; margin: .5rem 0 }
td { border-top: 1px solid #8883; padding: .2rem .8rem .2rem 0; vertical-align: top }
"""


class SchemaPage(OpenAPIRenderPlugin):
    """All calls with their parameters, and all answers with their fields."""

    def __init__(self) -> None:
        super().__init__(path="/", favicon="", style=STYLE)

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        title = escape(openapi_schema["info"]["title"])
        calls = "".join(
            _call(method, path, operation)
            for path, item in openapi_schema["paths"].items()
            for method, operation in item.items()
            if isinstance(operation, dict)
        )
        structs = openapi_schema.get("components", {}).get("schemas", {})
        answers = "".join(_struct(name, struct) for name, struct in sorted(structs.items()))
        return (
            f"<!doctype html><html lang=en><meta charset=utf-8><title>{title}</title>"
            "<meta name=viewport content='width=device-width'>"
            f"<style>{STYLE}</style><h1>{title}</h1>"
            f"<p>For machines: <a href='{self.get_openapi_json_route(request)}'>openapi.json</a></p>"
            f"<h2>Calls</h2>{calls}<h2>Data</h2>{answers}</html>"
        ).encode()


def _call(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(parameter['name'])}</code><td>{_type(parameter.get('schema', {}))}"
        f"<td>{escape(parameter.get('description') or '')}"
        for parameter in operation.get("parameters", [])
    )
    return (
        f"<details><summary><h3>{method.upper()} {escape(path)}</h3> "
        f"{escape(operation.get('description') or '')}</summary><table>{rows}</table></details>"
    )


def _struct(name: str, struct: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code><td>{_type(schema)}<td>{escape(schema.get('description') or '')}"
        for field, schema in struct.get("properties", {}).items()
    )
    return f"<details id='{escape(name)}'><summary><h3>{escape(name)}</h3></summary><table>{rows}</table></details>"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[-1])
        return f"<a href='#{name}'>{name}</a>"
    for union in ("oneOf", "anyOf", "allOf"):
        if union in schema:
            return " or ".join(_type(part) for part in schema[union])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(word))}</code>" for word in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    kind = schema.get("type", "any JSON")
    kind = " or ".join(kind) if isinstance(kind, list) else str(kind)
    limits = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    return escape(" ".join([kind, *limits]))

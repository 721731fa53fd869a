"""Query parameters: one struct per call says their names, types and limits; every fault is reported at once."""

import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from litestar.datastructures import MultiDict
from litestar.enums import ParamType
from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Operation, Parameter, Schema
from litestar.openapi.spec.enums import OpenAPIType
from msgspec import Meta

from api.problems import PROBLEM_JSON, BadQuery, Fault

DEFAULT_PROJECT = "default"
ProjectName = Annotated[str, Meta(description="The project's name.")]
T = TypeVar("T", bound=msgspec.Struct)

ATTRIBUTE_PREFIX = "attr."
LONGEST_VALUE = 1000
AGO = re.compile(r"(\d{1,6})([smhdw])")
PATH_PARTS = {
    "execution_id": "The sender's own id of the execution, or its trace id as 32 hex digits.",
    "span_id": "16 hex digits.",
    "job": "TRACE.SPAN in hex, TRACE. for the execution's own job.",
    "model": "A model, provider/model, or a pattern with *.",
}
Limit = Annotated[int, Meta(ge=1, le=500, description="Items on a page.")]
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class ProjectQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What every call understands."""

    project: ProjectName = DEFAULT_PROJECT


def read_query(params: MultiDict[Any] | Mapping[str, Any], wanted: type[T]) -> T:
    """The struct `wanted` from a call's parameters; BadQuery lists everything that is wrong with them."""
    given = params if isinstance(params, MultiDict) else MultiDict(params)
    fields = {field.name: field for field in msgspec.structs.fields(wanted)}
    values: dict[str, Any] = {}
    faults = [_unknown(name, fields) for name in given.dict() if not _is_known(name, fields)]
    for name, field in fields.items():
        # A form sends what nobody filled in as an empty text.
        texts = [text for text in given.getall(name, []) if text] if name != "attributes" else []
        try:
            if texts:
                values[name] = _value(texts, field.type)
        except (ValueError, OverflowError) as error:
            faults.append(Fault(name, f"{texts[0][:80]!r} is not possible: {error}"))
    if "attributes" in fields:
        values["attributes"], attribute_faults = _attributes(given)
        faults += attribute_faults
    if faults:
        raise BadQuery(faults)
    return wanted(**values)


def _is_known(name: str, fields: Mapping[str, Any]) -> bool:
    if name.startswith(ATTRIBUTE_PREFIX):
        return "attributes" in fields
    return name in fields and name != "attributes"


def _unknown(name: str, fields: Mapping[str, Any]) -> Fault:
    known = ", ".join("attr.KEY" if field == "attributes" else field for field in fields)
    return Fault(name[:80], f"there is no such parameter; there are {known}.")


def _value(texts: list[str], wanted: Any) -> Any:
    bare = _bare(wanted)
    is_many = get_origin(bare) is tuple
    if len(texts) > 1 and not is_many:
        raise ValueError("it was given more than once")
    for text in texts:
        if len(text) > LONGEST_VALUE or "\x00" in text:
            raise ValueError(f"at most {LONGEST_VALUE} characters, none of them NUL")
    if get_origin(bare) is Literal and texts[0] not in get_args(bare):
        raise ValueError(f"choose one of {', '.join(sorted(get_args(bare)))}")
    if bare is datetime:
        return moment(texts[0], datetime.now(UTC))
    return msgspec.convert(tuple(texts) if is_many else texts[0], wanted, strict=False)


def _bare(wanted: Any) -> Any:
    """The type behind Annotated and `| None`."""
    if get_origin(wanted) in (Union, types.UnionType):
        return next(_bare(part) for part in get_args(wanted) if part is not types.NoneType)
    return _bare(get_args(wanted)[0]) if hasattr(wanted, "__metadata__") else wanted


def _attributes(given: MultiDict[Any]) -> tuple[tuple[tuple[str, str], ...], list[Fault]]:
    pairs = [(name.removeprefix(ATTRIBUTE_PREFIX), text) for name, text in given.multi_items() if "." in name]
    bad = [pair for pair in pairs if not pair[0] or "\x00" in "".join(pair) or len("".join(pair)) > LONGEST_VALUE]
    faults = [Fault(f"attr.{key[:60]}", f"at most {LONGEST_VALUE} characters, none of them NUL") for key, _ in bad]
    if len(pairs) > 5:
        faults.append(Fault("attr", "at most five attributes in one search"))
    return tuple(pairs), faults


def moment(text: str, now: datetime) -> datetime:
    """ISO 8601 (UTC where it names no zone), or how long ago: 90s, 15m, 24h, 7d, 2w."""
    if found := AGO.fullmatch(text):
        return now - timedelta(**{UNITS[found[2]]: int(found[1])})
    try:
        time = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        raise ValueError("write a time like 2026-01-31T12:00:00Z, or how long ago: 15m, 24h, 7d") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


def described(wanted: type[msgspec.Struct]) -> type[Operation]:
    """An OpenAPI operation that lists the parameters of `wanted`, and how it fails."""

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            for parameter in self.parameters or []:
                if isinstance(parameter, Parameter):
                    parameter.description = PATH_PARTS.get(parameter.name)
            self.summary = (self.description or "").split(".")[0].split(":")[0]
            self.parameters = [*(self.parameters or []), *parameters_of(wanted)]
            answers = {status: answer for status, answer in (self.responses or {}).items() if status < "400"}
            self.responses = {**answers, "4XX": failed(), "5XX": failed()}

    return Described


def failed() -> OpenAPIResponse:
    """How every call fails, as `api.problems.Problem` has it."""
    text, number = Schema(type=OpenAPIType.STRING), Schema(type=OpenAPIType.INTEGER)
    fault = Schema(type=OpenAPIType.OBJECT, properties={"parameter": text, "detail": text})
    faults = Schema(type=OpenAPIType.ARRAY, items=fault)
    fields: dict[str, Any] = {"title": text, "status": number, "detail": text, "errors": faults}
    problem = Schema(type=OpenAPIType.OBJECT, properties=fields, required=["title", "status"])
    return OpenAPIResponse("Problem details (RFC 9457).", content={PROBLEM_JSON: OpenAPIMediaType(schema=problem)})


def parameters_of(wanted: type[msgspec.Struct]) -> list[Parameter]:
    (_, definitions) = msgspec.json.schema_components([wanted], ref_template="{name}")
    properties = definitions[wanted.__name__]["properties"]
    return [_parameter(name, properties[name]) for name in properties]


def _parameter(name: str, schema: dict[str, Any]) -> Parameter:
    if name == "attributes":
        name, schema = "attr.KEY", {"type": "string", "description": schema.get("description")}
    return Parameter(
        name=name,
        param_in=ParamType.QUERY,
        required=False,
        description=schema.get("description"),
        schema=_schema(schema),
    )


def _schema(described: dict[str, Any]) -> Schema:
    """A JSON schema as Litestar's; of `X | null` the X, for a parameter is left out rather than null."""
    possible = [part for part in described.get("anyOf", [described]) if part.get("type") != "null"]
    part = possible[0] | ({"default": described["default"]} if described.get("default") is not None else {})
    names = {"type": "type", "format": "format", "enum": "enum", "minimum": "minimum", "maximum": "maximum"}
    kept = {ours: part[theirs] for theirs, ours in names.items() if theirs in part}
    if isinstance(kept.get("type"), str):
        kept["type"] = OpenAPIType(kept["type"])
    if "items" in part:
        kept["items"] = _schema(part["items"])
    return Schema(**kept, default=part.get("default"))

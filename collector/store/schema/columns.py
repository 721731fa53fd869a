"""What the tables are made of: the one MetaData, and columns that many tables share."""

from typing import Any

from sqlalchemy import Column, Integer, LargeBinary, MetaData, func
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.types import UserDefinedType


class JsonText(UserDefinedType[str]):
    """A `json` column whose values stay text on both ways: encoded once, passed through unparsed."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "JSON"


metadata = MetaData()


def time_column(name: str, **options: Any) -> Column[Any]:
    return Column(name, TIMESTAMP(timezone=True), **options)


def now_column(name: str) -> Column[Any]:
    return time_column(name, nullable=False, server_default=func.now())


def key_columns() -> tuple[Column[Any], Column[Any]]:
    return Column("project_id", Integer, nullable=False), Column("trace_id", LargeBinary, nullable=False)

"""Answers of REST as tables for people, or as they are for machines."""

import json
from collections.abc import Iterable
from typing import Any

import rich_click as click
from rich.console import Console
from rich.table import Table
from rich.text import Text

COLORS = {
    "ok": "green",
    "completed": "green",
    "error": "red",
    "failed": "red",
    "running": "yellow",
    "pending": "yellow",
}


def print_json(answer: Any) -> None:
    click.echo(json.dumps(answer, ensure_ascii=False, indent=2))


def print_table(headings: Iterable[str], rows: Iterable[Iterable[Any]], console: Console | None = None) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        is_number = heading in ("steps", "errors", "tokens", "attempts", "took")
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold", no_wrap=heading == "id")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(_text(cell)) for cell in row))
    (console or screen()).print(table)


def screen() -> Console:
    """The terminal; wide where there is none, so that nothing is broken into lines for a pipe."""
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, emoji=False, width=200)


def state(word: str | None) -> Text:
    return Text(word or "", style=COLORS.get(word or "", ""))


def took(duration_ms: float | None) -> str:
    if duration_ms is None:
        return ""
    return f"{duration_ms:.1f} ms" if duration_ms < 1000 else f"{duration_ms / 1000:.2f} s"


def moment(text: str | None) -> str:
    """A time of REST without its fraction."""
    return (text or "")[:19].replace("T", " ")


def dollars(cost: float | None) -> str:
    return "" if cost is None else f"${cost:.6f}".rstrip("0").rstrip(".")


def tokens(counts: dict[str, Any] | None) -> str:
    """Input and output, where there are any."""
    sent, answered = (counts.get("input") or 0, counts.get("output") or 0) if counts else (0, 0)
    return f"{sent}+{answered}" if sent or answered else ""


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell)

"""`xray jobs`: reasoning jobs listed, retried, cancelled and counted."""

from collections.abc import Mapping
from typing import Any

from collector.commands.client import Client, quoted
from collector.commands.tables import dollars, moment, print_json, print_table, screen, state, tokens

HEADINGS = ("id", "status", "attempts", "created (UTC)", "finished (UTC)", "tokens", "cost", "error")


def show_list(url: str | None, filters: Mapping[str, Any], *, as_json: bool) -> None:
    page = Client(url).get("/reasoning/jobs", {"limit": 20} | {k: v for k, v in filters.items() if v is not None})
    if as_json:
        print_json(page)
    elif not page["items"]:
        screen().print("No jobs.")
    else:
        print_table(HEADINGS, (_row(job) for job in page["items"]))


def change(url: str | None, job_id: str, wish: str, project: str | None, *, as_json: bool) -> None:
    job = Client(url).call("POST", f"/reasoning/jobs/{quoted(job_id)}/{wish}", {"project": project})
    if as_json:
        print_json(job)
    else:
        print_table(HEADINGS, [_row(job)])


def show_stats(url: str | None, project: str | None, *, as_json: bool) -> None:
    figures = Client(url).get("/reasoning/stats", {"project": project})
    if as_json:
        print_json(figures)
    else:
        print_table(("what", "how much"), figures.items())


def _row(job: dict[str, Any]) -> list[Any]:
    times = [moment(job["created_at"]), moment(job["finished_at"])]
    ends = [tokens(job["tokens"]), dollars(job["cost_usd"]), job["error"]]
    return [job["id"], state(job["status"]), job["attempts"], *times, *ends]

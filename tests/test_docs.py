"""What the documents say is so: settings, commands, calls, links, and SQL that runs."""

import re
from pathlib import Path

import msgspec
import pytest

from api.app import create_routers
from api.hub import Hub
from api.services import Services
from collector.cli import program
from collector.commands.settings import HELP
from collector.config import Settings, variable
from collector.store.database import Database
from collector.store.schema import metadata
from collector.telemetry import Telemetry

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/**/*.md")])
SQL = re.compile(r"```sql\n(.*?)```", re.DOTALL)
ROWS = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", README, re.MULTILINE))
TOLD = dict(re.findall(r"^\| `([A-Z_]+)` \| .*? \| (.*) \|$", README, re.MULTILINE))


def default_of(field: msgspec.structs.FieldInfo) -> str:
    """A default as the table writes it."""
    if field.name == "data_dir":
        return "`~/.local/share/xray` (XDG)"
    value = field.default
    if value is None or value == ():
        return "unset"
    if isinstance(value, bool):
        return "`on`" if value else "`off`"
    return f"`{','.join(value) if isinstance(value, tuple) else value}`"


def test_every_setting_is_in_the_readme_with_its_default_and_no_other() -> None:
    fields = {variable(field.name): field for field in msgspec.structs.fields(Settings)}
    assert set(ROWS) == set(fields)
    assert {name: default_of(field) for name, field in fields.items()} == ROWS


def test_the_readme_says_of_settings_what_the_options_help_says() -> None:
    helps = {variable(name): text for group in HELP.values() for name, text in group.items()}
    assert helps == TOLD


def test_every_command_is_in_the_readme() -> None:
    for command in program.commands:
        assert f"`xray {command}" in README, command


def test_every_call_is_in_the_readme(database: Database) -> None:
    services = Services(database=database, telemetry=Telemetry(), hub=Hub())
    paths = {path for router in create_routers(services) for route in router.routes for path in [route.path]}
    told = README.replace("{id}", "").replace("…", "")
    for path in paths:
        plain = re.sub(r"\{\w+(:\w+)?\}", "", path.removeprefix("/api/v1"))
        last = "/" + plain.rstrip("/").rsplit("/", 1)[-1]
        assert last in told, path


def test_every_table_is_in_the_page_about_sql() -> None:
    page = (ROOT / "docs/sql.md").read_text(encoding="utf-8")
    for table in [*metadata.tables, "reasoning_ledger"]:
        assert f"`{table}`" in page, table


async def test_sql_in_the_documents_runs(database: Database) -> None:
    statements = [statement for page in DOCUMENTS for statement in SQL.findall(page.read_text(encoding="utf-8"))]
    assert len(statements) >= 5
    async with database.connection() as conn:
        for statement in statements:
            await conn.fetch(statement)


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_links_between_documents_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target

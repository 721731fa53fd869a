"""The `xray` program: commands and their options; what a command does is imported when it runs."""

import sys
from collections.abc import Callable
from typing import Any

import rich_click as click

from collector.commands.settings import setting_options
from collector.errors import Misconfigured, XRayError

WRONG_USE = 2
DATABASE_SETTINGS = ("database_url", "data_dir")

url_option = click.option("--url", metavar="URL", help="A running X-Ray; by default the one on this machine.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the answer of REST as it is.")
project_option = click.option("--project", metavar="NAME", help="The project; by default the one called default.")


class ListByDefault(click.RichGroup):
    """A group whose `list` may be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        asks_for_help = bool(args) and args[0] in ctx.help_option_names
        if not asks_for_help and (not args or args[0].startswith("-")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def reading(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that asks a running X-Ray."""
    return url_option(project_option(json_option(command)))


# As a setting, not by the decorator `rich_config`, which loads rich: only help and errors need that.
LOOKS = {"text_markup": "rich", "max_width": 120}


@click.group(context_settings={"help_option_names": ["-h", "--help"], "rich_help_config": LOOKS})
@click.version_option(package_name="xray-collector", message="xray %(version)s")
def program() -> None:
    """Keeps OpenTelemetry traces as executions made of steps, and explains what happened in them."""


@program.command()
@setting_options()
def up(**options: Any) -> None:
    """Start X-Ray: OTLP in, REST out, reasoning in the background."""
    from collector.commands.up import up

    up(options)


@program.command()
@setting_options(*DATABASE_SETTINGS)
def migrate(**options: Any) -> None:
    """Bring the database to the newest schema."""
    from collector.commands.database import migrate

    migrate(options)


@program.command()
@click.option("--runs", default=4, show_default=True, type=click.IntRange(1, 10_000), help="How many executions.")
@click.option("--endpoint", metavar="URL", help="OTLP endpoint; by default X-Ray's HTTP port on this machine.")
@click.option(
    "--protocol",
    type=click.Choice(["http/protobuf", "grpc"]),
    help="How it is sent; by default gRPC where the port is 4317, else HTTP.",
)
@url_option
def demo(runs: int, endpoint: str | None, protocol: str | None, url: str | None) -> None:
    """Send a movie recommendation pipeline through the OpenTelemetry SDK, and show what X-Ray makes of it."""
    from collector.demo import demo

    demo(runs, endpoint, protocol, url)


@program.group(cls=ListByDefault)
def executions() -> None:
    """Show executions: the newest ones, or one with its steps."""


@executions.command("list")
@click.option("--service", metavar="NAME")
@click.option("--name", metavar="NAME", help="* stands for any text.")
@click.option("--status", type=click.Choice(["running", "ok", "error"]))
@click.option("--since", metavar="TIME", help="ISO 8601, or how long ago: 15m, 24h, 7d.")
@click.option("--q", metavar="TEXT", help="Text in names, ids, inputs, outputs or error messages.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 500))
@reading
def list_executions(url: str | None, as_json: bool, **filters: Any) -> None:
    """The newest executions."""
    from collector.commands.executions import show_list

    show_list(url, filters, as_json=as_json)


@executions.command("show")
@click.argument("execution_id")
@reading
def show_execution(execution_id: str, url: str | None, project: str | None, as_json: bool) -> None:
    """One execution with its steps and reasoning."""
    from collector.commands.executions import show_one

    show_one(url, execution_id, project, as_json=as_json)


@program.group(cls=ListByDefault)
def jobs() -> None:
    """Show reasoning jobs, retry and cancel them."""


@jobs.command("list")
@click.option("--status", type=click.Choice(["pending", "processing", "completed", "failed", "cancelled"]))
@click.option("--execution-id", metavar="ID", help="Only jobs of this execution.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 500))
@reading
def list_jobs(url: str | None, as_json: bool, **filters: Any) -> None:
    """The newest jobs."""
    from collector.commands.jobs import show_list

    show_list(url, filters, as_json=as_json)


@jobs.command()
@click.argument("job_id")
@reading
def retry(job_id: str, url: str | None, project: str | None, as_json: bool) -> None:
    """Start a failed or cancelled job anew."""
    from collector.commands.jobs import change

    change(url, job_id, "retry", project, as_json=as_json)


@jobs.command()
@click.argument("job_id")
@reading
def cancel(job_id: str, url: str | None, project: str | None, as_json: bool) -> None:
    """Cancel a job that waits or runs."""
    from collector.commands.jobs import change

    change(url, job_id, "cancel", project, as_json=as_json)


@jobs.command()
@reading
def stats(url: str | None, project: str | None, as_json: bool) -> None:
    """How many jobs wait, run, failed or are done, and what they have cost."""
    from collector.commands.jobs import show_stats

    show_stats(url, project, as_json=as_json)


@program.command()
@click.option("--since", metavar="TIME", help="Only executions that started then or later: ISO 8601, or 24h, 7d ago.")
@setting_options(*DATABASE_SETTINGS, "prices_file")
def remap(since: str | None, **options: Any) -> None:
    """Run today's mapping over stored spans; where it was stopped, the next run goes on."""
    from collector.commands.remap import remap

    remap(options, since)


@program.command()
@json_option
@setting_options()
def doctor(as_json: bool, **options: Any) -> None:
    """Check database, schema, ports, clock and reasoner, and say what to do."""
    from collector.commands.doctor import doctor

    sys.exit(doctor(options, as_json=as_json))


def main() -> None:
    """Run a command; every error that has a name is told plainly, without a traceback."""
    try:
        program()
    except Misconfigured as error:
        for fault in error.faults:
            click.echo(f"xray: {fault}", err=True)
        sys.exit(WRONG_USE)
    except XRayError as error:
        click.echo(f"xray: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()

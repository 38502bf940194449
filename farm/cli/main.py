"""The entry of the command `farm`: collects the commands and turns errors into messages and exit codes.

Exit codes: 0 all is well; 1 something failed; 2 the request or a setting is wrong; 3 the job ended with
failed images; 4 the job was cancelled; 130 interrupted.
"""

import sys
from typing import Any

import click
from sqlalchemy.exc import DBAPIError

from farm import __version__
from farm.cli import accounts, addons, bench, checkpoints, control, listings, phrases, serve, service, submit, up
from farm.errors import ConfigError, FarmError, InvalidRequest


class FarmGroup(click.Group):
    """A group whose commands may raise FarmError, or what Postgres said to them."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InvalidRequest as error:
            click.echo("The request is refused; nothing was stored:", err=True)
            for problem in error.problems:
                click.echo(f"  {problem.field}: {problem.message}", err=True)
            sys.exit(2)
        except FarmError as error:
            click.echo(f"farm: {error}", err=True)
            sys.exit(2 if isinstance(error, ConfigError) else 1)
        except DBAPIError as error:
            click.echo(f"farm: Postgres failed or refused: {str(error.orig).splitlines()[0]}", err=True)
            sys.exit(1)
        except KeyboardInterrupt:
            # Left to click, this would exit with 1, as a failure does.
            click.echo("Interrupted.", err=True)
            sys.exit(130)


@click.group(cls=FarmGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="farm")
def main() -> None:
    """Diffusion Farm: a render farm for Stable Diffusion."""


for command in (
    up.up,
    serve.web,
    serve.worker,
    serve.keeper,
    serve.db,
    submit.submit,
    submit.watch,
    submit.download,
    listings.jobs,
    listings.job,
    listings.workers,
    control.cancel,
    control.pause,
    control.resume,
    control.retry,
    control.priority,
    service.drain,
    service.restore,
    checkpoints.checkpoints,
    *addons.GROUPS,
    phrases.styles,
    phrases.wildcards,
    accounts.users,
    bench.bench,
):
    main.add_command(command)

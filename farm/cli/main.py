"""The entry of the command `farm`: finds the commands and turns errors into messages and exit codes.

Exit codes: 0 all is well; 1 something failed; 2 the request or a setting is wrong; 3 the job ended with
failed images; 4 the job was cancelled; 130 interrupted.
"""

import sys
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any

import click
from sqlalchemy.exc import DBAPIError

from farm import __version__
from farm.cli import streams
from farm.errors import ConfigError, FarmError, InvalidRequest
from farm.imports import pause_garbage_collection

_MODULES: Mapping[str, tuple[str, ...]] = {
    "accounts": ("users", "projects"),
    "addons": ("vaes", "embeddings", "loras"),
    "bench": ("bench",),
    "checkpoints": ("checkpoints",),
    "control": ("cancel", "pause", "resume", "retry", "priority"),
    "db": ("db",),
    "keeper": ("keeper",),
    "listings": ("jobs", "job", "workers"),
    "snippets": ("styles", "wildcards"),
    "serve": ("web", "worker"),
    "service": ("drain", "restore"),
    "stats": ("stats",),
    "submit": ("submit", "watch", "download"),
    "up": ("up",),
}
"""Where in `farm.cli` each command is, under its own name."""

_MODULE_OF = {command: module for module, commands in _MODULES.items() for command in commands}


@cache
def _import(command: str) -> click.Command:
    with pause_garbage_collection():
        found: click.Command = getattr(import_module(f"farm.cli.{_MODULE_OF[command]}"), command)
    return found


class FarmGroup(click.Group):
    """The commands, each imported when it is asked for; they may raise FarmError, or an error of Postgres."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_MODULE_OF)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _import(cmd_name) if cmd_name in _MODULE_OF else None

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command; every error is printed as a sentence."""
        streams.prepare()
        try:
            return super().main(*args, **options)
        except Exception as error:  # unexpected errors, from anywhere below
            # Imported only when it is needed, because that takes long.
            unexpected = import_module("farm.cli.unexpected")
            click.echo(f"farm: {unexpected.explain_error(error)}", err=True)
            sys.exit(1)

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

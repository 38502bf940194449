"""How the command line shows things: tables and bars to a person, plain lines to a pipe, JSON when asked."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from farm import config
from farm.cli.streams import can_show_all
from farm.client import Client
from farm.config import DEFAULT_PORT, Settings
from farm.db.connection import Database, Role
from farm.errors import ConfigError
from farm.network.addresses import http_url

Columns = Mapping[str, Callable[[Any], str]]
"""What a table shows: the text of a cell for a row, by heading."""

numbers_may_be_negative = {"ignore_unknown_options": True}
"""For commands with a number among their arguments: `-1` is refused as a number, not as an option."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "cancelled": "yellow",
    "active": "cyan",
    "running": "cyan",
    "busy": "cyan",
    "idle": "green",
    "draining": "yellow",
    "drained": "yellow",
    "offline": "dim",
}


def open_client() -> Client:
    """A client of the portal at FARM_URL, else of the farm in the data folder; closed with the command."""
    settings = config.load()
    return click.get_current_context().with_resource(Client(find_portal(settings), settings.api_key))


def find_portal(settings: Settings) -> str:
    """The portal's address. Raises ConfigError where a data folder is set and no farm runs in it.

    Another program may listen at the default address of this machine.
    """
    if settings.url:
        return settings.url
    if "data_dir" in settings.model_fields_set and settings.database_url is None:
        raise ConfigError(
            f"No farm runs in FARM_DATA_DIR={settings.data_dir}. Start it with `farm up`, or set FARM_URL to the "
            "address of a portal."
        )
    return http_url("127.0.0.1", settings.port or DEFAULT_PORT)


def open_database() -> Database:
    """The farm's database, for the commands that need no portal; closed with the command."""
    database = Database.of(config.load(), Role.TOOL)
    click.get_current_context().call_on_close(database.close)
    return database


def print_json(value: Any) -> None:
    click.echo(json.dumps(_plain(value), indent=2, ensure_ascii=not can_show_all()))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [_plain(entry) for entry in value] if isinstance(value, list) else value


def print_rows(rows: Sequence[BaseModel], columns: Columns, *, as_json: bool) -> None:
    """Print what a command lists: all of it as JSON where that was asked for, else these columns."""
    if as_json:
        print_json(rows)
    else:
        print_table(rows, columns)


def print_table(rows: Sequence[BaseModel], columns: Columns) -> None:
    """Print rows under headings: as a table on a terminal, as tab-separated lines into a pipe."""
    if not sys.stdout.isatty():
        click.echo("\t".join(columns))
        for row in rows:
            click.echo("\t".join(one_line(cell(row)) for cell in columns.values()))
        return
    Console().print(build_table(rows, columns))


def build_table(rows: Sequence[Any], columns: Columns) -> Table:
    """The rows as a terminal shows them."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in columns:
        table.add_column(heading, overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*(_cell(one_line(cell(row))) for cell in columns.values()))
    return table


def _cell(text: str) -> Text:
    """A text of a table; never parsed as markup, which text from users may look like."""
    return Text(text, style=_STYLES.get(text, ""))


def one_line(text: str) -> str:
    """Text from outside, made safe for a terminal: control characters are shown as escapes."""
    return "".join(mark if mark.isprintable() else f"\\x{ord(mark):02x}" for mark in text)


def count_images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"


def format_age(moment: datetime | None) -> str:
    """How long ago, in the largest unit that fits: 12s, 5m, 3h, 2d."""
    if moment is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"

"""What the commands for weights share: showing how far adding is, what came of it, and what is registered."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from farm import config
from farm.cli.console import Columns, ago, one_line, open_database
from farm.cli.parts import require_worker_packages
from farm.spec.digests import shortened
from farm.store.protocol import open_store
from farm.weights.add import Added, Warehouse, Watch
from farm.weights.wishes import Wish

_PROGRESS = (
    TextColumn("{task.description}"),
    BarColumn(),
    DownloadColumn(),
    TransferSpeedColumn(),
    TimeRemainingColumn(),
)

COLUMNS: Columns = {
    "NAME": lambda weights: weights.name,
    "FAMILY": lambda weights: weights.family,
    "HASH": lambda weights: shortened(weights.sha256),
    "SIZE": lambda weights: size(weights.size_bytes),
    "ORIGIN": lambda weights: weights.origin or "",
    "ADDED": lambda weights: ago(weights.created_at),
}
"""What the lists of registered weights of every kind begin with."""


class Bars:
    """A progress bar for each stage, on a terminal."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bar: TaskID | None = None

    def stage(self, what: str) -> None:
        if self._bar is not None:
            self._progress.remove_task(self._bar)
        self._progress.console.print(one_line(what), markup=False, highlight=False)
        self._bar = self._progress.add_task("", total=None)

    def count(self, done: int, total: int | None) -> None:
        if self._bar is not None:
            self._progress.update(self._bar, completed=done, total=total)


class Lines:
    """A line for each stage, and for each tenth of it, in a pipe."""

    def __init__(self) -> None:
        self._tenths = 0

    def stage(self, what: str) -> None:
        self._tenths = 0
        click.echo(f"{one_line(what)} ...", err=True)

    def count(self, done: int, total: int | None) -> None:
        if total and (tenths := 10 * done // total) > self._tenths:
            self._tenths = tenths
            click.echo(f"  {size(done)} of {size(total)}", err=True)


@contextmanager
def watching() -> Iterator[Watch]:
    if not sys.stderr.isatty():
        yield Lines()
        return
    with Progress(*_PROGRESS, console=Console(stderr=True), transient=True) as progress:
        yield Bars(progress)


def add(wish: Wish) -> None:
    """Add weights and say what is registered now."""
    require_worker_packages()
    settings = config.load()
    with watching() as watch:
        added = Warehouse(settings, open_database(), open_store(settings), watch).add(wish)
    _tell(wish, added)


def _tell(wish: Wish, added: Added) -> None:
    for warning in added.warnings:
        click.echo(f"Warning: {one_line(warning)}", err=True)
    done = "Added" if added.is_new else "It is registered already:"
    click.echo(f"{done} {wish.title} {one_line(added.name)}: {added.family}, hash {shortened(added.sha256)}")
    if added.vae:
        click.echo(f"The VAE {added.vae} suits it: `farm vaes add {added.vae}`")


def size(count: int | None) -> str:
    """Bytes in the unit that people use: 4.3 GB, 335 MB, 12 kB. Nothing where they are not known."""
    if count is None:
        return ""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"

"""Shared by the commands for weights: the display of progress, of the result, and of what is registered."""

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
from farm.cli.console import Columns, format_age, one_line, open_database
from farm.cli.extras import require_worker_packages
from farm.spec.digests import shorten_digest
from farm.store.protocol import open_store
from farm.weights.add import AddedWeights, ProgressListener, WeightsImporter
from farm.weights.addrequest import AddRequest

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
    "HASH": lambda weights: shorten_digest(weights.sha256),
    "SIZE": lambda weights: format_size(weights.size_bytes),
    "ORIGIN": lambda weights: weights.origin or "",
    "ADDED": lambda weights: format_age(weights.created_at),
}
"""What the lists of registered weights of every kind begin with."""


class ProgressBars:
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


class ProgressLines:
    """A line for each stage, and for each tenth of it, in a pipe."""

    def __init__(self) -> None:
        self._tenths = 0

    def stage(self, what: str) -> None:
        self._tenths = 0
        click.echo(f"{one_line(what)} ...", err=True)

    def count(self, done: int, total: int | None) -> None:
        if total and (tenths := 10 * done // total) > self._tenths:
            self._tenths = tenths
            click.echo(f"  {format_size(done)} of {format_size(total)}", err=True)


@contextmanager
def show_progress() -> Iterator[ProgressListener]:
    if not sys.stderr.isatty():
        yield ProgressLines()
        return
    with Progress(*_PROGRESS, console=Console(stderr=True), transient=True) as progress:
        yield ProgressBars(progress)


def add(request: AddRequest) -> None:
    """Add weights and print what is registered now."""
    require_worker_packages()
    settings = config.load()
    with show_progress() as listener:
        added = WeightsImporter(settings, open_database(), open_store(settings), listener).add(request)
    _print_result(request, added)


def _print_result(request: AddRequest, added: AddedWeights) -> None:
    for warning in added.warnings:
        click.echo(f"Warning: {one_line(warning)}", err=True)
    done = "Added" if added.is_new else "Already registered:"
    click.echo(
        f"{done} {request.title} {one_line(added.name)}: {added.family}, hash {shorten_digest(added.sha256)}"
    )
    if added.vae:
        click.echo(f"The VAE {added.vae} suits it: `farm vaes add {added.vae}`")


def format_size(count: int | None) -> str:
    """Bytes in the unit that people use: 4.3 GB, 335 MB, 12 kB. Empty where they are not known."""
    if count is None:
        return ""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"

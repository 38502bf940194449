"""Following a job to its end, and saving its images as they come."""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from farm.cli.console import count_images
from farm.client import Client, ask_until_answered
from farm.errors import FarmError
from farm.reports.shapes import JobReport
from farm.sheets.contact import Tile, make_contact_sheet

_POLL_SECONDS = 0.5
_PATIENCE_SECONDS = 120.0
_GRID_SECONDS = 60.0

_EXIT_CODES = {"succeeded": 0, "failed": 3, "cancelled": 4}


def exit_code(job: JobReport) -> int:
    return _EXIT_CODES.get(job.status, 1)


def watch_job(
    client: Client, job_id: int, *, folder: Path | None = None, on_poll: Callable[[], None] = lambda: None
) -> JobReport:
    """Show a job's progress until it ends, saving its images in the folder if one is given.

    `on_poll` is called at each poll.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, disable=not sys.stderr.isatty(), console=Console(stderr=True)) as bar:
        line = bar.add_task(f"Job {job_id}", total=None)
        job = _poll(client, job_id)
        printed = -1
        while not job.is_final:
            bar.update(line, total=job.images.total, completed=job.images.finished, description=_describe(job))
            printed = _print_progress(job, printed)
            if folder:
                download_images(client, job_id, folder)
            on_poll()
            time.sleep(_POLL_SECONDS)
            job = _poll(client, job_id)
        bar.update(line, total=job.images.total, completed=job.images.finished, description=_describe(job))
    if folder:
        download_images(client, _wait_for_grids(client, job).id, folder)
    counts = job.images
    click.echo(f"Job {job_id} {job.status}: {counts.succeeded} of {count_images(counts.total)}.", err=True)
    return job


def _print_progress(job: JobReport, printed: int) -> int:
    """Where stderr is no terminal, a line each time the count of finished images has changed; return the count."""
    finished = job.images.finished
    if finished != printed and not sys.stderr.isatty():
        click.echo(f"{_describe(job)}: {finished} of {count_images(job.images.total)}", err=True)
    return finished


def _describe(job: JobReport) -> str:
    return f"Job {job.id} {job.status}"


def _poll(client: Client, job_id: int) -> JobReport:
    """Ask for the job; waits for a portal that restarts."""
    return ask_until_answered(lambda: client.job(job_id), _PATIENCE_SECONDS)


def _wait_for_grids(client: Client, job: JobReport) -> JobReport:
    """Wait for the job's grids and return the job: a keeper draws them within seconds of its end."""
    deadline = time.monotonic() + _GRID_SECONDS
    while job.awaits_grid and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        job = _poll(client, job.id)
    return job


def download_images(client: Client, job_id: int, folder: Path, *, with_sheet: bool = False) -> int:
    """Save all images of a job and its grids, with a contact sheet if requested; return how many images there are.

    A store that does not answer is waited for.
    """
    tiles = []
    try:
        for image in client.images(job_id):
            path = ask_until_answered(partial(client.download, image, folder), _PATIENCE_SECONDS)
            tiles.append(Tile(path, image.spec["prompt"], f"seed {image.spec['seed']}"))
        for grid in client.grids(job_id):
            ask_until_answered(partial(client.download, grid, folder), _PATIENCE_SECONDS)
        if with_sheet and tiles:
            make_contact_sheet(tiles, folder / "contact-sheet.png")
    except OSError as error:
        raise FarmError(f"Cannot save images in {folder}: {error.strerror or error}") from None
    return len(tiles)

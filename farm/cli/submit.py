"""The commands around submitting: submit, watch, download."""

import sys
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from farm import infotext
from farm.cli.console import count_images, json_option, open_client, print_json
from farm.cli.requesting import build_request
from farm.cli.rows import RequestedRow, name_lines, naming_lines, read_prompt_rows
from farm.cli.submit_options import request_options
from farm.cli.watching import download_images, exit_code, watch_job
from farm.client import AnswerLost, Client, ask_until_answered
from farm.intake.promptfiles.recognise import ACCEPTED
from farm.intake.request import JobRequest
from farm.reports.shapes import JobReport, PreviewReport
from farm.weights.hashmatch import RegisteredHashes, match_registered

_PATIENCE_SECONDS = 30.0
_FOLDER = click.Path(file_okay=False, path_type=Path)
_FILE = click.Path(dir_okay=False, path_type=Path)
_FILE_OR_INPUT = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


@click.command()
@click.argument("prompts", nargs=-1)
@click.option(
    "--file",
    "-f",
    "file",
    type=_FILE_OR_INPUT,
    metavar="FILE|-",
    help=f"Prompts from a file: {ACCEPTED}; - is standard input.",
)
@click.option(
    "--from-image",
    "image_file",
    type=_FILE,
    help="Render an image again, by the text that its tool wrote into it, or into a .txt next to it.",
)
@request_options
@click.option("--idempotency-key", help="A repeat with the same key makes no second job.")
@click.option("--dry-run", is_flag=True, help="Only check, count and estimate.")
@click.option("--wait", is_flag=True, help="Wait for the end, with a progress bar.")
@click.option("--download", "folder", type=_FOLDER, help="Wait, and save the images in this folder.")
@json_option
def submit(
    prompts: tuple[str, ...],
    file: Path | None,
    image_file: Path | None,
    idempotency_key: str | None,
    dry_run: bool,
    wait: bool,
    folder: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Submit a job.

    Each PROMPT, and each row of the file, is rendered --count times, at every point of the axes.
    """
    client = open_client()
    image_settings = _read_image_settings(client, image_file, options.get("image")) if image_file else {}
    rows = read_prompt_rows(prompts, file)
    with naming_lines(rows):
        request = build_request(client, rows, options, image_settings)
        if dry_run:
            return _print_preview(client.preview(request), rows, as_json=as_json)
        job, warnings = _submit(client, request, idempotency_key or uuid.uuid4().hex)
    _warn(name_lines(warning, rows) for warning in warnings)
    if as_json and not (wait or folder):
        return print_json(job)
    if not as_json:
        click.echo(f"Job {job.id}: {count_images(job.images.total)}. {client.url}/jobs/{job.id}")
    if wait or folder:
        job = watch_job(client, job.id, folder=folder)
        if as_json:
            print_json(job)
        sys.exit(exit_code(job))
    return None


def _read_image_settings(client: Client, path: Path, picture: str | None) -> dict[str, Any]:
    """The request in an image's own text; prints warnings of what is not supported, or differs here.

    `picture` is the one to begin from, None where none is given.
    """
    addons = client.addons()
    here = RegisteredHashes(
        {checkpoint.name: checkpoint.sha256 for checkpoint in client.checkpoints()},
        {(addon.kind, addon.name): addon.sha256 for addon in addons},
        {(addon.kind, addon.name): tuple(addon.source_hashes) for addon in addons},
    )
    read = infotext.read_file(path)
    read = match_registered(read.with_picture() if picture else read, here)
    _warn(read.warnings)
    return dict(read.fields)


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)


def _print_preview(preview: PreviewReport, rows: Sequence[RequestedRow], *, as_json: bool) -> None:
    if as_json:
        return print_json(preview)
    _warn(name_lines(warning, rows) for warning in preview.warnings)
    seconds = preview.seconds
    time = "nothing similar was rendered recently" if seconds is None else f"about {_format_duration(seconds)}"
    kinds = f"{preview.batches} kind{'' if preview.batches == 1 else 's'} of batch"
    expected = preview.expected.in_words if preview.expected else ""
    when = f" Submitted now, it {expected}." if expected else ""
    click.echo(f"{count_images(preview.images)} in {kinds}; {time}.{when} Nothing was submitted.")
    return None


def _format_duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _submit(client: Client, request: JobRequest, key: str) -> tuple[JobReport, list[str]]:
    """Submit a job; if the answer is lost, ask again: the idempotency key makes it one job."""
    try:
        return client.submit(request, key)
    except AnswerLost:
        return ask_until_answered(lambda: client.submit(request, key), _PATIENCE_SECONDS)


@click.command()
@click.argument("job_id", metavar="ID", type=int)
def watch(job_id: int) -> None:
    """Follow a job to its end; the exit code says how it ended."""
    sys.exit(exit_code(watch_job(open_client(), job_id)))


@click.command()
@click.argument("job_id", metavar="ID", type=int)
@click.argument("folder", metavar="DIR", type=_FOLDER)
@click.option("--contact-sheet", is_flag=True, help="Also write contact-sheet.png.")
def download(job_id: int, folder: Path, contact_sheet: bool) -> None:
    """Save a job's images in a folder.

    Images that are already there are left alone.
    """
    count = download_images(open_client(), job_id, folder, with_sheet=contact_sheet)
    click.echo(f"Saved {count_images(count)} in {folder}")

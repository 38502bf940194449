"""The commands around submitting: submit, watch, download."""

import sys
import uuid
from pathlib import Path
from typing import Any

import click

from farm.cli.console import count_images, json_option, open_client, print_json
from farm.cli.watching import download_images, exit_code, watch_job
from farm.client import AnswerLost, Client, insist
from farm.promptfile import read_prompts
from farm.reports import JobReport
from farm.samplers import SAMPLERS
from farm.specs import JobRequest, parse_request

_PATIENCE_SECONDS = 30.0
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("prompts", nargs=-1)
@click.option(
    "--file",
    "-f",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Prompts from a file: .json, .jsonl, .csv, or one per line.",
)
@click.option("--negative", "negative_prompt", help="What the images must not show.")
@click.option("--checkpoint", "-c", help="Needed where more than one is registered.")
@click.option("--sampler", help=f"One of: {', '.join(SAMPLERS)}.")
@click.option("--steps", "num_inference_steps", type=int)
@click.option("--guidance", "guidance_scale", type=float, help="CFG scale.")
@click.option("--width", "-W", type=int)
@click.option("--height", "-H", type=int)
@click.option("--seed", type=int, help="Seed of each prompt's first image; drawn if left out.")
@click.option("--count", "-n", "images_per_prompt", type=int, help="Images per prompt, with consecutive seeds.")
@click.option("--deterministic", is_flag=True, default=None, help="Render each image alone.")
@click.option("--name")
@click.option("--project")
@click.option("--pool")
@click.option("--priority", type=int, help="0 to 100, higher goes first.")
@click.option("--not-before", help="Start no image before this time (ISO 8601 with zone).")
@click.option("--deadline", help="Cancel what has not started by this time (ISO 8601 with zone).")
@click.option("--idempotency-key", help="A repeat with the same key makes no second job.")
@click.option("--wait", is_flag=True, help="Wait for the end, with a progress bar.")
@click.option("--download", "folder", type=_FOLDER, help="Wait, and save the images in this folder.")
@json_option
def submit(
    prompts: tuple[str, ...],
    file: Path | None,
    idempotency_key: str | None,
    wait: bool,
    folder: Path | None,
    as_json: bool,
    **fields: Any,
) -> None:
    """Submit a job.

    Each PROMPT, and each row of the file, is rendered --count times.
    """
    rows: list[Any] = [
        *prompts,
        *(row.model_dump(exclude_none=True) for row in (read_prompts(file) if file else [])),
    ]
    if not rows:
        raise click.UsageError("Give a prompt, or a file of prompts with --file.")
    request = parse_request(
        {"prompts": rows, **{name: value for name, value in fields.items() if value is not None}}
    )
    client = open_client()
    job, warnings = _submit(client, request, idempotency_key or uuid.uuid4().hex)
    for warning in warnings:
        click.echo(f"Warning: {warning}", err=True)
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


def _submit(client: Client, request: JobRequest, key: str) -> tuple[JobReport, list[str]]:
    """Submit a job; where the answer is lost on its way, ask again: the key sees to it that there is one job."""
    try:
        return client.submit(request, key)
    except AnswerLost:
        return insist(lambda: client.submit(request, key), _PATIENCE_SECONDS)


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

    Those already there are left alone.
    """
    count = download_images(open_client(), job_id, folder, with_sheet=contact_sheet)
    click.echo(f"Saved {count_images(count)} in {folder}")

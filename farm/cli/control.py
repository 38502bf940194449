"""The commands that control a job: cancel, pause, resume, retry, priority."""

import click

from farm.cli.console import count_images, numbers_may_be_negative, open_client
from farm.reports.shapes import JobReport

_job_id = click.argument("job_id", metavar="ID", type=int)


def _print_status(job: JobReport) -> None:
    click.echo(
        f"Job {job.id} is {job.status}: {job.images.succeeded} of {count_images(job.images.total)} succeeded."
    )


@click.command()
@_job_id
def cancel(job_id: int) -> None:
    """Cancel a job; images being rendered stop at their next step."""
    _print_status(open_client().act(job_id, "cancel"))


@click.command()
@_job_id
def pause(job_id: int) -> None:
    """Start no further image of a job; images being rendered finish."""
    _print_status(open_client().act(job_id, "pause"))


@click.command()
@_job_id
def resume(job_id: int) -> None:
    """Resume a paused job."""
    _print_status(open_client().act(job_id, "resume"))


@click.command()
@_job_id
def retry(job_id: int) -> None:
    """Queue the failed images of a job again."""
    _print_status(open_client().act(job_id, "retry"))


@click.command(context_settings=numbers_may_be_negative)
@_job_id
@click.argument("priority", type=click.IntRange(0, 100))
def priority(job_id: int, priority: int) -> None:
    """Set a job's priority: 0 to 100, higher goes first."""
    _print_status(open_client().set_priority(job_id, priority))

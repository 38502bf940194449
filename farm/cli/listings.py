"""The commands that list: jobs, one job, workers."""

from collections.abc import Iterator

import click

from farm.cli.console import format_age, json_option, one_line, open_client, print_json, print_rows, print_table
from farm.queue.states import JobStatus
from farm.reports.shapes import JobReport, WorkerReport


@click.command()
@click.option("--status", type=click.Choice([status.value for status in JobStatus]), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 200), default=30, show_default=True)
@json_option
def jobs(status: str | None, limit: int, as_json: bool) -> None:
    """List jobs, newest first."""
    found = open_client().jobs(status=status, limit=limit)
    print_rows(
        found,
        {
            "ID": lambda job: str(job.id),
            "NAME": lambda job: job.name[:48],
            "STATUS": lambda job: job.status,
            "DONE": _format_done,
            "FAILED": lambda job: str(job.images.failed or ""),
            "PRIO": lambda job: str(job.priority),
            "OWNER": lambda job: job.owner,
            "AGE": lambda job: format_age(job.created_at),
        },
        as_json=as_json,
    )


def _format_done(job: JobReport) -> str:
    return f"{job.images.succeeded}/{job.images.total}"


@click.command()
@click.argument("job_id", metavar="ID", type=int)
@json_option
def job(job_id: int, as_json: bool) -> None:
    """Show one job, and why it is not running if it is not."""
    client = open_client()
    found = client.job(job_id)
    if as_json:
        return print_json(found)
    counts = found.images
    lines = {
        "Job": f"{found.id}  {found.name}",
        "Status": f"{found.status}" + (f" ({found.reason})" if found.reason else ""),
        "Images": f"{counts.total}: {counts.succeeded} succeeded, {counts.running} running, "
        f"{counts.queued} queued, {counts.failed} failed, {counts.cancelled} cancelled",
        "Priority": _describe_priority(found),
        "Owner": found.owner + (f", project {found.project}" if found.project else ""),
        "Submitted": f"{found.created_at:%Y-%m-%d %H:%M:%S} UTC",
        **({"Deadline": f"{found.deadline:%Y-%m-%d %H:%M:%S} UTC"} if found.deadline else {}),
        **({"Expected": found.expected.in_words} if found.expected else {}),
    }
    for label, text in lines.items():
        click.echo(f"{label:<10} {one_line(text)}")
    for reason in client.explain(job_id):
        click.echo(f"{'Waiting':<10} {one_line(reason)}")
    for task in client.tasks(job_id, status="failed"):
        click.echo(f"{'Failed':<10} image {task.seq}: {one_line(task.reason or '')}")
    return None


def _describe_priority(job: JobReport) -> str:
    """`50, interactive, in pool default, on at most 4 devices`."""
    class_ = f", {job.class_}," if job.class_ else ""
    limit = f", on at most {job.max_devices} device{'' if job.max_devices == 1 else 's'}" if job.max_devices else ""
    return f"{job.priority}{class_} in pool {job.pool}{limit}"


@click.command()
@json_option
def workers(as_json: bool) -> None:
    """List the workers, what each is doing, and what it is excluded from."""
    found = open_client().workers()
    if as_json:
        return print_json(found)
    print_table(
        found,
        {
            "ID": lambda worker: str(worker.id),
            "NAME": lambda worker: worker.name,
            "DEVICE": lambda worker: worker.device_name[:40],
            "POOL": lambda worker: worker.pool,
            "STATUS": lambda worker: worker.status,
            "RUNNING": lambda worker: str(worker.running),
            "CHECKPOINT": lambda worker: ", ".join(_list_checkpoints(worker)),
            "SEEN": lambda worker: f"{worker.silent_seconds:.0f}s",
            "KEPT FROM": lambda worker: ", ".join(_list_exclusions(worker)),
        },
    )
    for sentence in dict.fromkeys(why for worker in found for why in _explain_exclusions(worker)):
        click.echo(one_line(sentence), err=True)
    return None


def _list_checkpoints(worker: WorkerReport) -> list[str]:
    """The one that it renders with, then what else is loaded."""
    return [*dict.fromkeys(name for name in (worker.checkpoint, *worker.residents) if name)]


def _list_exclusions(worker: WorkerReport) -> Iterator[str]:
    yield from (exclusion.checkpoint or "all work" for exclusion in worker.exclusions)
    yield from (f"large {limit.family}" for limit in worker.memory_limits)


def _explain_exclusions(worker: WorkerReport) -> Iterator[str]:
    """What is wrong with the worker; why it is excluded from work, and how to end that."""
    if worker.reason and worker.status != "offline":
        yield f"{worker.name} is in trouble: {worker.reason}"
    for exclusion in worker.exclusions:
        option = f" --checkpoint {exclusion.checkpoint}" if exclusion.checkpoint else ""
        yield (
            f"{worker.name} is kept from {exclusion.checkpoint or 'all work'} since {format_age(exclusion.since)}: "
            f"{exclusion.reason} (`farm restore {worker.name}{option}`)"
        )
    for limit in worker.memory_limits:
        yield (
            f"{worker.name} leaves {limit.family} images of {limit.pixels / 1e6:.2f} megapixels and more to others "
            f"since {format_age(limit.since)}: {limit.reason} (`farm restore {worker.name}`)"
        )

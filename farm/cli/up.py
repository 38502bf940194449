"""`farm up`: the whole farm on this machine."""

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from farm import config, logs
from farm.cli.console import count_images
from farm.cli.extras import require_worker_packages
from farm.cli.watching import download_images, exit_code, watch_job
from farm.client import Client, KeyNeeded, PortalUnreachable
from farm.embedded.machine import LocalFarm
from farm.intake.request import parse_request
from farm.reports.shapes import WorkerReport

_DEMO_CHECKPOINT = "demo"
_DEVICES_SECONDS = 10.0
_DEMO = {
    "name": "demo",
    # Named, since a farm in use has others too.
    "checkpoint": _DEMO_CHECKPOINT,
    "prompts": [
        "a sailing boat with a white sail on the sea at sunset with the sun",
        "a tree on a green hill by day with a yellow sun and clouds",
        "a large green star on a pink background",
        "a boat with an orange sail on the sea at night",
    ],
    "hires": {"scale": 2, "upscaler": "Lanczos", "strength": 0.4},
    "images_per_prompt": 3,
    "seed": 1,
}


@click.command()
@click.option("--devices", default="all", show_default=True, help="all, or a list of: index, UUID, cpu, cpu:N.")
@click.option("--host", help="Address of the portal.  [FARM_HOST]")
@click.option("--port", type=click.IntRange(0, 65535), help="Port of the portal; 0 for any free one.  [FARM_PORT]")
@click.option(
    "--demo", is_flag=True, help="Submit a first batch, to the demo checkpoint, which is added where it is missing."
)
@click.option(
    "--download",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Save the demo's images and a contact sheet here.",
)
@click.option("--stop-when-done", is_flag=True, help="Stop when the demo is done.")
def up(
    devices: str, host: str | None, port: int | None, demo: bool, folder: Path | None, stop_when_done: bool
) -> None:
    """Run everything on this machine: servers, portal, keeper, and a worker on each device."""
    require_worker_packages()
    if not demo and (folder or stop_when_done):
        raise click.UsageError("--download and --stop-when-done go with --demo.")
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = config.load_given(**given)
    logs.configure(settings)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    if demo and settings.asks_for_keys and not settings.api_key:
        raise click.UsageError("--demo submits to a portal that asks for a key here: set FARM_API_KEY.")
    code = 0
    try:
        with LocalFarm(settings, devices, _DEMO_CHECKPOINT if demo else None) as farm:
            client = Client(farm.url, settings.api_key)
            farm.wait_until_ready(client.is_ready)
            click.echo(f"Diffusion Farm is up: {farm.url}")
            click.echo(f"Data and logs are in {settings.data_dir}. Ctrl-C stops it.")
            _print_devices(client, farm.keep_running)
            if demo:
                code = _run_demo(farm, client, folder)
            while not stop_when_done:
                time.sleep(0.5)
                farm.keep_running()
    except KeyboardInterrupt:
        # The ordinary way to stop it, unless it should have finished the demo.
        code = 130 if stop_when_done else 0
    sys.exit(code)


def _run_demo(farm: LocalFarm, client: Client, folder: Path | None) -> int:
    job, _ = client.submit(parse_request(_DEMO))
    click.echo(f"Submitted a first batch of {count_images(job.images.total)}: {client.url}/jobs/{job.id}")
    job = watch_job(client, job.id, on_poll=farm.keep_running)
    if folder:
        count = download_images(client, job.id, folder, with_sheet=True)
        click.echo(f"Saved {count_images(count)} and contact-sheet.png in {folder}")
    return exit_code(job)


def _print_devices(client: Client, keep_running: Callable[[], None]) -> None:
    """Print the devices: a farm on the processor alone seems to work, but is a hundred times slower."""
    try:
        live = _wait_for_workers(client, keep_running)
    except KeyNeeded:
        click.echo("The devices are not listed: the portal requires an API key. Set FARM_API_KEY to see them.")
        return
    if not live:
        click.echo(
            "No worker has started yet; `farm workers` lists them, and the log of the worker shows what it does."
        )
        return
    devices = ", ".join(f"{worker.device} ({worker.device_name})" for worker in live)
    click.echo(f"Images are rendered on {devices}.")
    if all(worker.device.startswith("cpu") for worker in live):
        click.echo("That is the processor: no GPU is used.")


def _wait_for_workers(client: Client, keep_running: Callable[[], None]) -> list[WorkerReport]:
    """The workers that start in time. Raises KeyNeeded."""
    deadline = time.monotonic() + _DEVICES_SECONDS
    while not (live := _live_workers(client)) and time.monotonic() < deadline:
        keep_running()
        time.sleep(0.2)
    return live


def _live_workers(client: Client) -> list[WorkerReport]:
    """The live workers; an empty list while the portal does not answer. Raises KeyNeeded."""
    try:
        return [worker for worker in client.workers() if worker.status != "offline"]
    except PortalUnreachable:
        return []

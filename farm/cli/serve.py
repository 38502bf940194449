"""The commands that run one part of the farm: web, worker, keeper, and the database's migrations."""

import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import NoReturn

import click

from farm import config, crashpoints, logs, migrate
from farm.cleaner import Cleaner
from farm.cli.parts import require_worker_packages
from farm.config import Settings
from farm.database import Database, Role
from farm.grids import GridMaker
from farm.keeper import Keeper
from farm.queue import Doorbell
from farm.store import open_store


@click.command()
@click.option("--host", help="Address to bind; any but loopback needs an account.  [FARM_HOST]")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to bind.  [FARM_PORT]")
def web(host: str | None, port: int | None) -> None:
    """Run the portal and its API."""
    given = {"FARM_HOST": host, "FARM_PORT": port and str(port)}
    config.load()
    become("web", env={name: value for name, value in given.items() if value})


@click.command()
@click.option("--devices", default="all", show_default=True, help="all, or a list of: index, GPU-uuid, cpu, cpu:N.")
@click.option("--pool", help="The pool to serve.  [FARM_POOL]")
def worker(devices: str, pool: str | None) -> None:
    """Run workers, one on each device."""
    require_worker_packages()
    config.load()
    become("workers", "--devices", devices, *(["--pool", pool] if pool else []))


def become(module: str, *arguments: str, env: Mapping[str, str] | None = None) -> NoReturn:
    """Go on as `python -m module`: the portal and the workers are programs of their own."""
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], {**os.environ, **(env or {})})


@click.command()
def keeper() -> None:
    """Run the housekeeping; several may run at once."""
    settings = config.load()
    logs.configure(settings)
    crashpoints.arm(settings.crash_point)
    run_keeper(settings)


def run_keeper(settings: Settings) -> None:
    database = Database.of(settings, Role.KEEPER)
    doorbell = Doorbell(settings.required_redis_url)
    housekeeping = Keeper(settings, database, doorbell)
    store = open_store(settings)
    cleaner, grid_maker = Cleaner(settings, database, store), GridMaker(settings, database, store)
    # Daemons: what takes long there is not waited for, it is repeated.
    threading.Thread(target=cleaner.run, name="cleaner", daemon=True).start()
    threading.Thread(target=grid_maker.run, name="grids", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: housekeeping.stop())
    housekeeping.run()
    cleaner.stop()
    grid_maker.stop()
    doorbell.close()
    database.close()


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
def upgrade() -> None:
    """Bring the schema up to this release."""
    settings = config.load()
    migrate.upgrade(settings.required_database_url)
    click.echo("The database is up to date.")

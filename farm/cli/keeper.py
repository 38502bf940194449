"""The command that runs the housekeeping."""

import signal
import threading

import click

from farm import config, crashpoints, logs
from farm.config import Settings
from farm.db.connection import Database, Role
from farm.queue.doorbell import Doorbell, require_transport
from farm.store.protocol import open_store
from farm.upkeep.cleaner import Cleaner
from farm.upkeep.gridmaker import GridMaker
from farm.upkeep.keeper import Keeper
from farm.upkeep.planning import Planning

_PATIENCE_SECONDS = 3.0


@click.command()
def keeper() -> None:
    """Run the housekeeping; several may run at once."""
    settings = config.load()
    logs.configure(settings)
    crashpoints.arm(settings.crash_points)
    run_keeper(settings)


def run_keeper(settings: Settings) -> None:
    """Run until SIGTERM or Ctrl-C. Raises ConfigError for a Redis URL that no ring can be sent to."""
    database = Database.of(settings, Role.KEEPER)
    require_transport(settings.required_redis_url)
    doorbell = Doorbell(settings.required_redis_url)
    housekeeping = Keeper(settings, database, doorbell)
    store = open_store(settings)
    cleaner, grid_maker = Cleaner(settings, database, store), GridMaker(settings, database, store)
    # Daemon threads: long work in them is not waited for, it is repeated by the next keeper.
    threading.Thread(target=cleaner.run, name="cleaner", daemon=True).start()
    threading.Thread(target=grid_maker.run, name="grids", daemon=True).start()
    planning = Planning(settings, database, doorbell)
    planner = threading.Thread(target=planning.run, name="planning", daemon=True)
    planner.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: housekeeping.stop())
    housekeeping.run()
    planning.stop()
    cleaner.stop()
    grid_maker.stop()
    # Waited for, so that another keeper may lead at once.
    planner.join(_PATIENCE_SECONDS)
    doorbell.close()
    database.close()

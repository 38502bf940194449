"""How many connections to Postgres the workers of a machine have."""

from collections import Counter

from sqlalchemy import text

from farm.db.connection import Database
from tests.farms import RunningFarm


def connections(database: Database) -> Counter[str]:
    """The sessions of Postgres, by the kind of process."""
    with database.begin() as session:
        query = (
            "SELECT application_name, count(*) FROM pg_stat_activity WHERE datname = current_database() GROUP BY 1"
        )
        return Counter(dict(tuple(row) for row in session.execute(text(query))))


def test_a_device_has_at_most_two_connections_while_it_renders(running: RunningFarm) -> None:
    job_id = running.submit(images_per_prompt=12)
    most: Counter[str] = Counter()
    while not running.client.job(job_id).finished_at:
        most |= connections(running.database)
    most |= connections(running.database)
    assert (most["farm-worker"], most["farm-heartbeat"]) == (1, 1)


def test_the_parent_of_the_workers_keeps_no_connection(running: RunningFarm) -> None:
    running.finish(running.submit())
    assert connections(running.database)["farm-parent"] == 0

"""Has a former release live a short life on a farm in use, whose schema is this release's, and writes it down."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from farm.bench.scratch import scratch_folder
from farm.db import migrate
from farm.embedded.postgres import Postgres
from tests.bench.former.life import Life, read_standing
from tests.bench.former.release import FormerRelease, check_out, run_release

RELEASES = Path(__file__).parents[2] / "releases"
IN_USE = RELEASES / "0007-in-use.sql"
LIFE = RELEASES / "0007-life.jsonl"
FORMER_SCHEMA = "0007"

PICTURE: dict[str, Any] = {"checkpoint": "demo", "width": 64, "height": 64, "num_inference_steps": 4, "seed": 1}
OLD_WORKER = 1
"""It renders when the schema is upgraded."""


def make_farm_in_use(database_url: str) -> None:
    """Bring an empty database to the former schema, and fill it with a farm in use."""
    migrate.upgrade(database_url, FORMER_SCHEMA)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(IN_USE.read_bytes())


@contextmanager
def upgraded_farm() -> Iterator[tuple[Path, str]]:
    """A scratch folder, and the URL of the farm in use with the schema of this release."""
    with scratch_folder() as folder:
        postgres = Postgres(folder / "postgres", folder / "run")
        postgres.start()
        try:
            make_farm_in_use(postgres.url)
            migrate.upgrade(postgres.url)
            yield folder, postgres.url
        finally:
            postgres.stop()


def record(revision: str) -> Life:
    """The life of the release of that revision."""
    with upgraded_farm() as (folder, url):
        with run_release(check_out(revision, folder / "tree"), url) as former:
            live(former)
        with psycopg.connect(url) as connection:
            return Life(tuple(former.steps), read_standing(connection))


def live(former: FormerRelease) -> None:
    """What portal, worker and keeper of a farm do, each thing once or twice."""
    former.do("submit", "ada", prompts=["a lighthouse"], images_per_prompt=3, project="posters", **PICTURE)
    former.do("renew", OLD_WORKER, [2, 1], [3, 1], [28, 1])
    former.do("publish", 2, 1)
    worker_id = former.do("register", "0")
    first, second, third = former.do("claim", worker_id, 4)
    former.do("renew", worker_id, first, second, third)
    former.do("publish", *first)
    former.do("fail", *second)
    former.do("hand_back", *third)
    former.do("claim", worker_id, 4)
    former.do("release_dead", worker_id)
    former.do("expire")
    former.do("cancel_overdue")
    former.do("set_priority", 5, 60)
    former.do("pause", 5)
    former.do("resume", 3)
    former.do("retry", 8)
    former.do("cancel", 10)

"""A former release beside this one on one database: which promises hold, and so in which order to upgrade."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from farm import config
from farm.config import Settings
from farm.db.connection import Database, Role
from farm.queue.doorbell import Doorbell
from tests.bench.former.record import upgraded_farm
from tests.bench.former.release import FormerReleaseFailed, check_out, run_release
from tests.bench.former.trials import TRIALS, Trial
from tests.chaos.report import table
from tests.factories import Scene

_STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")
_COUNTS = f"SELECT job_id, batch_key, {', '.join(_STATUSES)} FROM line_counts"
_RECOUNT = f"""
    SELECT job_id, batch_key, {", ".join(f"count(*) FILTER (WHERE status = '{status}')" for status in _STATUSES)}
    FROM tasks GROUP BY job_id, batch_key
"""
_DISAGREEING = f"SELECT count(*) FROM ({_COUNTS} EXCEPT {_RECOUNT}) disagreeing"


class _SilentDoorbell(Doorbell):
    """Nobody listens here."""

    def ring(self, pool: str, times: int = 1) -> None:
        pass


@dataclass(frozen=True)
class Verdict:
    """What came of a trial; `broken` says what does not hold, and is empty where all does."""

    trial: Trial
    broken: str


def try_all(revision: str) -> Iterator[Verdict]:
    """Each trial with the release of that revision, on a copy of its own of the farm in use."""
    with upgraded_farm() as (folder, url):
        tree = check_out(revision, folder / "tree")
        for trial in TRIALS:
            with _copied(url) as copy:
                yield Verdict(trial, _try(trial, tree, copy))


def describe(verdicts: Sequence[Verdict]) -> str:
    rows = [(v.trial.former, v.trial.what, v.broken or "kept") for v in verdicts]
    return table(("of the former release", "what it does beside this one", "promises"), rows)


def _try(trial: Trial, tree: Path, url: str) -> str:
    with run_release(tree, url) as former, closing(Database(url, Role.TOOL)) as database:
        scene = Scene(database, _settings(url), _SilentDoorbell("redis://nowhere"))
        try:
            trial.play(former, scene)
            assert not scene.scalar(_DISAGREEING), "counts and tasks disagree"
        except (AssertionError, FormerReleaseFailed) as error:
            return str(error) or "it does not hold"
    return ""


def _settings(url: str) -> Settings:
    return config.load_given(
        database_url=url,
        redis_url="redis://nowhere",
        store_url="file:///nowhere",
        secret_key="of these trials only",
    )


@contextmanager
def _copied(url: str) -> Iterator[str]:
    """A copy of a database to which nobody is connected."""
    admin, copy = url.replace("/farm?", "/postgres?"), url.replace("/farm?", "/trial?")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("CREATE DATABASE trial TEMPLATE farm")
        yield copy
        connection.execute("DROP DATABASE trial WITH (FORCE)")

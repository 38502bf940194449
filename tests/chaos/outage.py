"""What an outage of the storage costs: renders before, during and after it, and how much the spool had to hold."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.load import Load
from tests.chaos.logbook import entries_in
from tests.chaos.null_renderer import RENDERED
from tests.chaos.objects import Trouble
from tests.chaos.stage import Stage, raised, undisturbed

BEFORE_SECONDS = 20.0
AFTER_SECONDS = 20.0
_BUCKET_SECONDS = 10.0
_JOB_IMAGES = 20
_UNFINISHED = "SELECT count(*) FROM tasks WHERE status IN ('queued', 'running')"


@dataclass(frozen=True)
class Outage:
    """`renders` are images per bucket of 10 s; the outage fills those from `began` up to `ended`.

    `spool_bytes` is the most that one worker's spool held, `spool_limit` what it may.
    """

    images_per_second: float
    seconds: float
    renders: tuple[int, ...]
    began: int
    ended: int
    tasks: int
    most_attempts: int
    spool_bytes: int
    spool_limit: int

    @property
    def renders_during(self) -> tuple[int, ...]:
        return self.renders[self.began : self.ended]

    @property
    def is_kept(self) -> bool:
        """Nothing was rendered again, the devices went on, and the spool kept its bound."""
        return self.most_attempts == 1 and sum(self.renders_during) > 0 and self.spool_bytes <= self.spool_limit


def measure(seconds: float, *, images_per_second: float = 8.0, spool_limit: int = 2**31) -> Outage:
    """Answer every request of the store with 500 for so long, under a steady load."""
    with (
        raised(undisturbed(hosts=2, spool_bytes=spool_limit)) as stage,
        steady_load(stage, images_per_second) as load,
    ):
        started = datetime.now(UTC)
        _watch(stage, BEFORE_SECONDS)
        stage.objects.trouble = Trouble.ERROR
        during = _watch(stage, seconds)
        stage.objects.trouble = Trouble.NONE
        after = _watch(stage, AFTER_SECONDS)
        load.stop()
        stage.wait_for(load.is_done, "the load did not end")
        stage.wait_for(lambda: not stage.scalar(_UNFINISHED), "the images did not get done", 300)
        began = int(BEFORE_SECONDS / _BUCKET_SECONDS)
        return Outage(
            images_per_second=images_per_second,
            seconds=seconds,
            renders=_renders(stage, started),
            began=began,
            ended=began + int(seconds / _BUCKET_SECONDS),
            tasks=stage.scalar("SELECT count(*) FROM tasks"),
            most_attempts=stage.scalar("SELECT max(number) FROM attempts"),
            spool_bytes=max(during, after),
            spool_limit=spool_limit,
        )


@contextmanager
def steady_load(stage: Stage, images_per_second: float) -> Iterator[Load]:
    """Jobs of 20 images at an even pace; they are accepted whatever becomes of those before."""
    pause_seconds = _JOB_IMAGES / images_per_second
    load = Load(
        stage,
        random.Random(stage.plan.seed),
        backlog=10_000,
        action_share=0.0,
        images=(_JOB_IMAGES, _JOB_IMAGES),
        pause_seconds=(pause_seconds, pause_seconds),
    )
    load.start()
    try:
        yield load
    finally:
        load.stop()
        load.close()


def _watch(stage: Stage, seconds: float) -> int:
    """Let time pass; return the most bytes that one host's spool held."""
    deadline, most = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        stage.tend()
        most = max(most, *(spooled_bytes(host.spool) for host in stage.hosts))
        time.sleep(0.2)
    return most


def spooled_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*.image"):
        # It may be published this very moment.
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def _renders(stage: Stage, started: datetime) -> tuple[int, ...]:
    buckets: Counter[int] = Counter()
    for entry in entries_in(stage.logs):
        if entry["event"] == RENDERED:
            after = (datetime.fromisoformat(entry["timestamp"]) - started).total_seconds()
            buckets[int(after // _BUCKET_SECONDS)] += len(entry["seeds"])
    return tuple(buckets[number] for number in range(max(buckets) + 1))

"""One run of chaos: raise a farm, load it, break it, let it settle, judge it."""

import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from farm.pictures import uploads
from farm.sheets import grids
from farm.upkeep import orphans
from tests.chaos import logbook
from tests.chaos.downloads import Downloads
from tests.chaos.faults import FAULTS, Demon, Fault
from tests.chaos.load import Load
from tests.chaos.logbook import Logbook
from tests.chaos.programs import send
from tests.chaos.stage import Plan, Stage, raised
from tests.chaos.verify import Verdict, judge

SETTLE_SECONDS = 300.0

_RENDERING = "SELECT count(DISTINCT worker_id) FROM tasks WHERE status = 'running'"
_UNDRAWN = "SELECT count(*) FROM jobs WHERE awaits_grid AND finished_at IS NOT NULL"
_UNFINISHED = "SELECT count(*) FROM tasks WHERE status IN ('queued', 'running')"
# Nobody will ever touch these again: their workers are silent for long and no keeper takes them back.
_NOT_GIVEN_UP = """
    SELECT count(*) FROM tasks WHERE status = 'queued'
    OR (status = 'running' AND greatest(
        nullif(lease_until, '9999-01-01 00:00:00+00'), (SELECT w.lease_until FROM workers w WHERE w.id = worker_id)
    ) > now() - make_interval(secs => :patience_seconds))
"""


@dataclass(frozen=True)
class Drill:
    """A farm, and what it has to go through for so long.

    `read_share` of its jobs bring pictures or are sweeps; they need so many `checkpoints`.
    """

    plan: Plan
    seconds: float
    faults: Mapping[str, Fault] = field(default_factory=lambda: FAULTS)
    pause_seconds: tuple[float, float] = (0.5, 2.5)
    backlog: int = 60
    images: tuple[int, int] = (1, 12)
    action_share: float = 0.15
    read_share: float = 0.0
    checkpoints: int = 2
    keeps_logs: bool = True


@dataclass(frozen=True)
class Outcome:
    """What came of a drill. `logs` is a folder, kept where something was broken; None where it was not."""

    seconds: float
    faults: Counter[str]
    repeats: int
    downloads: Downloads
    swept: int
    verdict: Verdict
    logbook: Logbook
    broken: tuple[str, ...]
    logs: Path | None


def carry_out(drill: Drill) -> Outcome:
    """Everything, from an empty folder to the verdict.

    1. Load; faults from when every host renders, for the time of the drill.
    2. Faults end, the load ends, everything settles; a farm that cannot settle is not waited for.
    3. Workers stop; objects that belong to nothing are swept once more; the verdict.
    """
    dice = random.Random(drill.plan.seed)
    with raised(drill.plan) as stage:
        demon = Demon(stage, random.Random(dice.random()), drill.faults, drill.pause_seconds)
        load = _load(stage, drill, random.Random(dice.random()))
        downloads = Downloads(stage, load, random.Random(dice.random()))
        load.start()
        downloads.start()
        _wait(stage, lambda: stage.scalar(_RENDERING) >= len(stage.hosts))
        _rage(stage, demon, drill.seconds)
        demon.mend_all()
        load.stop()
        _settle(stage, load)
        downloads.stop()
        _stop_workers(stage)
        load.close()
        return _outcome(stage, drill, demon, load, downloads)


def _load(stage: Stage, drill: Drill, dice: random.Random) -> Load:
    return Load(
        stage,
        dice,
        drill.backlog,
        drill.action_share,
        drill.images,
        read_share=drill.read_share,
        checkpoints=drill.checkpoints,
    )


def _outcome(stage: Stage, drill: Drill, demon: Demon, load: Load, downloads: Downloads) -> Outcome:
    swept = orphans.sweep(stage.database, stage.store).orphans
    uploads.discard(stage.database, stage.store)
    grids.delete_discarded(stage.database, stage.store)
    verdict = judge(stage, load.accepted)
    broken = (*verdict.broken, *load.problems, *downloads.problems)
    book = logbook.read(stage.logs)
    return Outcome(
        seconds=drill.seconds,
        faults=demon.counts,
        repeats=load.repeats,
        downloads=downloads,
        swept=swept + book.swept,
        verdict=verdict,
        logbook=book,
        broken=broken,
        logs=_keep_logs(stage) if broken and drill.keeps_logs else None,
    )


def _rage(stage: Stage, demon: Demon, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        demon.act()
        stage.tend()
        time.sleep(0.02)


def _settle(stage: Stage, load: Load) -> None:
    """Wait until every image is final and every grid drawn, or nobody is left who would make it so."""
    _wait(stage, load.is_done)
    patience_seconds = stage.plan.lease_seconds
    _wait(
        stage,
        lambda: (
            not stage.scalar(_UNFINISHED)
            or (not stage.keepers and not stage.scalar(_NOT_GIVEN_UP, patience_seconds=patience_seconds))
        ),
    )

    _wait(stage, lambda: not stage.keepers or not stage.scalar(_UNDRAWN))


def _wait(stage: Stage, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while not is_so() and time.monotonic() < deadline:
        stage.tend()
        time.sleep(0.1)


def _stop_workers(stage: Stage) -> None:
    for host in stage.hosts:
        send(host.program.main(), signal.SIGTERM)
    for host in stage.hosts:
        host.program.stop()


def _keep_logs(stage: Stage) -> Path:
    kept = stage.folder.with_name(f"{stage.folder.name}-logs")
    shutil.copytree(stage.logs, kept)
    return kept

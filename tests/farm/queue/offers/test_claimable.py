"""What may be claimed is defined once: the claim, the keeper's ring and `explain` agree on it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from farm.queue import steering
from farm.upkeep.keeper import pools_to_ring
from tests.factories import Scene

ROOT = Path(__file__).resolve().parents[4]


def pause(scene: Scene, job_id: int) -> None:
    steering.pause(scene.database, job_id)


def pause_and_resume(scene: Scene, job_id: int) -> None:
    pause(scene, job_id)
    steering.resume(scene.database, scene.doorbell, job_id)


LATER = "2999-01-01T00:00:00Z"
STATES: dict[str, tuple[dict[str, Any], Callable[[Scene, int], None], bool]] = {
    "queued": ({}, lambda scene, job_id: None, True),
    "paused": ({}, pause, False),
    "paused by an older portal": (
        {},
        lambda scene, job_id: scene.execute("UPDATE counters SET is_open = false"),
        False,
    ),
    "resumed": ({}, pause_and_resume, True),
    "too early": ({"not_before": LATER}, lambda scene, job_id: None, False),
    "too early and resumed": ({"not_before": LATER}, pause_and_resume, False),
    "late enough": ({"not_before": LATER}, lambda scene, job_id: scene.let_jobs_begin(), True),
    "cancelled": ({}, lambda scene, job_id: steering.cancel(scene.database, job_id), False),
}


@pytest.mark.parametrize(("fields", "change", "is_claimable"), STATES.values(), ids=STATES)
def test_a_job_is_rung_for_exactly_when_it_can_be_claimed(
    scene: Scene, fields: dict[str, Any], change: Callable[[Scene, int], None], is_claimable: bool
) -> None:
    worker_id = scene.worker()
    change(scene, scene.submit(**fields))
    with scene.database.begin() as session:
        pools = pools_to_ring(session)
    assert (bool(pools), bool(scene.claim(worker_id))) == (is_claimable, is_claimable)


def test_the_conditions_of_a_claim_are_written_in_one_module() -> None:
    written = re.compile(r"is_open AND|Counters\.is_open|not_before <= (now|func\.now)\(\)")
    # Benchmarks write whole tables of jobs, as no portal does.
    modules = [path for path in (ROOT / "farm").rglob("*.py") if "bench" not in path.parts]
    assert [path.name for path in modules if written.search(path.read_text())] == ["claimable.py"]

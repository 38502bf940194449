"""What a downgrade keeps: the release before reads rows that were not counted when it ran."""

from importlib import import_module

import pytest
from sqlalchemy import text

from tests.factories import Scene


@pytest.mark.parametrize(("published", "status"), [(4, "active"), (8, "succeeded")])
def test_a_downgrade_counts_what_was_appended(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, published: int, status: str
) -> None:
    scene.submit(images_per_prompt=8)
    monkeypatch.setattr("farm.queue.lifecycle._FEW", -1)
    scene.publish_all(*scene.claim(scene.worker())[:published])
    counted = scene.recount()
    downgrade = import_module("migrations.versions.0008_dispatch").DOWNGRADE
    with scene.database.engine.connect() as connection:
        connection.exec_driver_sql(downgrade)
        columns = "job_id, batch_key, queued, running, succeeded, failed, cancelled"
        found = connection.execute(text(f"SELECT {columns} FROM counters")).all()
        jobs = connection.execute(text("SELECT status, finished_at IS NOT NULL FROM jobs")).all()
        connection.rollback()
    assert {(job_id, key): tuple(counts) for job_id, key, *counts in found} == counted
    assert [tuple(job) for job in jobs] == [(status, status != "active")]

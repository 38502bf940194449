"""How Postgres reads what pages show, on a farm with ten thousand jobs and a thousand deltas that wait."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from farm.db.tables.jobs import Job
from farm.queue.deadlines import overdue
from farm.reports import overview
from tests.factories import Scene, explain, many_lines

READERS: dict[str, Callable[[], Select[Any]]] = {
    "a job": lambda: overview._job_query().where(Job.id == 1),
    "a page of jobs": lambda: overview._job_query().order_by(Job.id.desc()).limit(50),
    "the farm at a glance": overview._open_images,
    "overdue jobs": lambda: select(overdue().subquery()),
}


@pytest.fixture
def session(scene: Scene) -> Any:
    many_lines(scene)
    with scene.database.begin() as session:
        yield session


@pytest.mark.parametrize("reader", READERS)
def test_counts_are_read_by_an_index(session: Session, reader: str) -> None:
    plan = explain(session, READERS[reader]())
    assert "Seq Scan on counters" not in plan, plan
    assert "Seq Scan on jobs" not in plan, plan

"""What a worker held that is gone is given back."""

from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from tests.factories import Scene
from workers.parent.givebacks import GiveBacks


def test_the_row_of_a_worker_is_locked_before_its_tasks(scene: Scene, tmp_path: Path) -> None:
    """As a heartbeat locks them: else the two might wait for each other."""
    seen: list[str] = []

    def give_back(session: Session, **_: Any) -> None:
        seen.extend(session.scalars(text("SELECT status FROM workers")))

    givebacks = GiveBacks(scene.database, tmp_path / "spool", lambda: None)
    givebacks.add(scene.worker(), give_back, "killed")
    givebacks.give_back_all()
    assert seen == ["offline"]

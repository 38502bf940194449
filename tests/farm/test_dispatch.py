"""How tasks change hands."""

from farm.config import Settings
from farm.database import Database
from farm.queue import Doorbell
from tests.factories import a_job, a_worker, claim


def test_a_claim_takes_compatible_tasks_up_to_its_limit(
    database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    a_job(database, settings, doorbell, images_per_prompt=6)
    batch = claim(database, a_worker(database), limit=4)
    assert batch is not None
    assert [lease.attempt for lease in batch.leases] == [1, 1, 1, 1]

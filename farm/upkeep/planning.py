"""Planning beside the keeper's rounds: of all keepers one leads, and the others wait to take over.

It has a thread of its own: no plan, however slow or wrong, may hold up the leases.
"""

import threading
import time

from farm.config import Settings
from farm.db.connection import Database
from farm.dispatch.plan import plan
from farm.planner.leader import Leader
from farm.queue.doorbell import Doorbell
from farm.queue.planbell import PlanBell
from farm.upkeep.rounds import attempt_in_spite_of_bugs

_PERIOD_SECONDS = 1.0
_RESTS = 3.0
"""A leader rests at least so many times as long as its round took, whoever rings."""
_LONGEST_SECONDS = 8.0
"""But both together last no longer than that, if they can: claims follow a plan for ten seconds."""
_SHORTEST_SECONDS = 0.2


class Planning:
    """Makes a round each second, and soon where something rings; until stopped."""

    def __init__(self, settings: Settings, database: Database, doorbell: Doorbell) -> None:
        self._leader = Leader(settings, database, doorbell, plan)
        self._bell = PlanBell(settings.required_redis_url)
        self._stopped = threading.Event()

    @property
    def is_leading(self) -> bool:
        return self._leader.is_leading

    def run(self) -> None:
        """Make rounds until `stop`; outages of Postgres and Redis are waited out."""
        while not self._stopped.is_set():
            started = time.monotonic()
            self.make_round()
            self._rest(time.monotonic() - started)
        attempt_in_spite_of_bugs(self._leader.stop, "stop planning")
        self._bell.close()

    def stop(self) -> None:
        self._stopped.set()

    def make_round(self) -> None:
        """One round. Where another keeper leads, that is to ask whether it still does."""
        attempt_in_spite_of_bugs(self._leader.lead, "lead")
        for name, step in self._leader.steps().items():
            attempt_in_spite_of_bugs(step, name)

    def _rest(self, took: float) -> None:
        """At least a multiple of what the round took; then to the end of the period, or until something rings."""
        shortest = shortest_rest(took)
        if self._stopped.wait(shortest) or not self._leader.is_leading:
            self._stopped.wait(_PERIOD_SECONDS - shortest)
            return
        if (left := _PERIOD_SECONDS - took - shortest) > 0:
            self._bell.wait(left)


def shortest_rest(took: float) -> float:
    """For how many seconds a leader rests at least whose round took so many."""
    return max(_SHORTEST_SECONDS, min(_RESTS * took, _LONGEST_SECONDS - took))

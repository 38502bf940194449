"""The keeper that leads: folds what was appended, plans pools, keeps the books; all others wait to take over.

A pool is planned while it has a worker.

One round is a few short transactions, and each may fail by itself: the next round goes on where it stands. What a
leader keeps in memory it reads anew when it begins to lead.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError

from farm.config import Settings
from farm.db.clock import read_now
from farm.db.connection import Database
from farm.dispatch.policy import Policy
from farm.planner.folding import Folded, Folding
from farm.planner.leadership import Leadership
from farm.planner.ledger import Ledger
from farm.planner.measuring import actuals
from farm.planner.measuring.learn import Learned
from farm.planner.poolplanner import MakePlan, PoolPlanner
from farm.planner.prune import prune
from farm.planner.reading.snapshots import Known, read_pools
from farm.queue.doorbell import Doorbell

log = structlog.get_logger(__name__)

_BOOKS_SECONDS = 5.0
_PRUNE_SECONDS = 60.0
_MOST_RINGS = 64
_MOST_FOLDS = 20

Step = Callable[[], None]


@dataclass
class _State:
    """What a leader keeps in memory, as long as it leads."""

    known: Known
    pools: dict[str, PoolPlanner] = field(default_factory=dict)
    ended_since: float = 0.0
    books_at: float = 0.0
    prune_at: float = 0.0
    next_group: int = 0


class Leader:
    """Makes rounds while it leads. `make_plan` is the policy."""

    def __init__(self, settings: Settings, database: Database, doorbell: Doorbell, make_plan: MakePlan) -> None:
        self._database = database
        self._doorbell = doorbell
        self._make_plan = make_plan
        self._policy = Policy(reload_share=settings.reload_share)
        self._leadership = Leadership(database)
        self._folding = Folding(database)
        self._is_leading = False
        self._state: _State | None = None

    @property
    def is_leading(self) -> bool:
        return self._is_leading

    def lead(self) -> None:
        """Lead, if no other keeper does, and find the pools to plan. Raises SQLAlchemyError in an outage."""
        self._hold()
        if not self._is_leading:
            return
        if self._state is None:
            self._state = self._load()
        self._find_pools(self._state)

    def _hold(self) -> None:
        """Learn whether this keeper leads. Who lost the lead forgets what it knew: another one goes on with it."""
        self._is_leading = False
        try:
            self._is_leading = self._leadership.hold()
        finally:
            if not self._is_leading:
                self._state = None

    def steps(self) -> Mapping[str, Step]:
        """The steps of a round, by name and in order: each stands alone. Who does not lead has none to make.

        What was appended is folded even where nothing could be loaded that plans are made of.
        """
        if not self._is_leading:
            return {}
        return {"fold": self._fold, **(self._steps_of(self._state) if self._state else {})}

    def _steps_of(self, state: _State) -> Mapping[str, Step]:
        now = time.monotonic()
        return {
            **{f"plan {pool}": partial(self._plan, state, planner) for pool, planner in state.pools.items()},
            **({"keep the books": partial(self._keep_books, state)} if now >= state.books_at else {}),
            **({"prune the plan": partial(self._prune, state)} if now >= state.prune_at else {}),
        }

    def stop(self) -> None:
        """Lead no more; what is in the books is stored, if the database is there."""
        state, self._state = self._state, None
        self._is_leading = False
        if state is not None:
            try:
                self._keep_books(state)
            except SQLAlchemyError as error:
                log.warning("The last lags were not stored.", error=str(error.args[0]))
        self._leadership.resign()

    def _load(self) -> _State:
        with self._database.begin() as session:
            known = Known(Learned.load(session, time.monotonic()))
            return _State(known, ended_since=actuals.last_noted_end(session))

    def _find_pools(self, state: _State) -> None:
        """Begin to plan the pools that have a worker, and leave those that have none any more."""
        with self._database.begin() as session:
            pools = set(read_pools(session))
            for pool in sorted(pools - state.pools.keys()):
                ledger = Ledger.load(session, pool)
                state.pools[pool] = PoolPlanner(pool, ledger, self._policy, self._make_plan)
        for pool in sorted(state.pools.keys() - pools):
            left = state.pools.pop(pool)
            state.known.batches.pop(pool, None)
            with self._database.begin() as session:
                left.ledger.store(session)

    def _plan(self, state: _State, planner: PoolPlanner) -> None:
        waiting = planner.plan(self._database, state.known)
        if waiting:
            self._doorbell.ring_workers(planner.pool, times=min(waiting, _MOST_RINGS))

    def _fold(self) -> None:
        """Add up what claims and publishes appended: owners are charged, and what was rendered is learned from."""
        for number in range(_MOST_FOLDS):
            if number:
                self._hold()
            if not self._is_leading:
                return
            folded = self._folding.fold()
            if self._state is not None:
                _take_over(self._state, folded)
            if not (folded.lines and folded.has_more):
                return

    def _keep_books(self, state: _State) -> None:
        """Store what need not be fresh each second."""
        state.books_at = time.monotonic() + _BOOKS_SECONDS
        try:
            for planner in state.pools.values():
                planner.keep_books(self._database, state.known)
            with self._database.begin() as session:
                state.known.learned.store(session)
                until = read_now(session) - actuals.OVERLAP_SECONDS
                is_all = actuals.note_ends(session, min(state.ended_since, until)) < actuals.MOST
        except BaseException:
            state.known.learned.forget_stored()
            raise
        if is_all:
            state.ended_since = until

    def _prune(self, state: _State) -> None:
        state.prune_at = time.monotonic() + _PRUNE_SECONDS
        with self._database.begin() as session:
            state.next_group = prune(session, state.next_group)


def _take_over(state: _State, folded: Folded) -> None:
    """What is charged is stored already: what a ledger misses, it finds when it looks there again."""
    for account, seconds in folded.charges.items():
        if planner := state.pools.get(account.pool):
            planner.ledger.charge((account.owner_id, account.project_id), seconds)
    state.known.learned.observe(folded.samples, time.monotonic())

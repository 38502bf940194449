"""One pool, as its leader plans it: read, plan, write; what is kept from round to round is here."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from farm.db.clock import ClockWatch
from farm.db.connection import Database
from farm.dispatch.planned import Plan
from farm.dispatch.policy import Policy
from farm.dispatch.snapshot import Carried, Seat, Snapshot
from farm.planner.ledger import Ledger
from farm.planner.measuring.expect import expect_seconds, write_seconds
from farm.planner.outlooks import Board
from farm.planner.reading.snapshots import Known, Look, read_snapshot
from farm.planner.turns import write_turns
from farm.planner.write import write_heartbeat, write_seats

log = structlog.get_logger(__name__)

MakePlan = Callable[[Snapshot, float], Plan]


@dataclass
class PoolPlanner:
    """Plans one pool. `carried` is what each plan leaves for the next."""

    pool: str
    ledger: Ledger
    policy: Policy
    make_plan: MakePlan
    carried: Carried = field(default_factory=Carried)
    _clock: ClockWatch = field(default_factory=ClockWatch)
    _board: Board | None = None
    _look: Look | None = None

    def plan(self, database: Database, known: Known) -> int:
        """Make one plan and store what changed; return how many idle workers have new work.

        Where Postgres' clock was set since the last plan, what that one left is set with it.
        """
        with database.begin() as session:
            self.carried = self.carried.after(self._clock.look(session))
            look = read_snapshot(session, self.ledger, known, policy=self.policy, carried=self.carried)
        started = time.monotonic()
        plan = self.make_plan(look.snapshot, look.now)
        self._complain_if_slow(time.monotonic() - started, look.snapshot)
        changed = self._write(database, plan, look)
        self.ledger.settle(plan.shares)
        self.carried = plan.carried
        self._look = look
        return _count_idle(look.snapshot, changed)

    def _write(self, database: Database, plan: Plan, look: Look) -> list[Seat]:
        """Store what changed; return the seats that did."""
        stored = {device.id: device.seat for device in look.snapshot.devices if device.seat}
        # Until it is committed, nobody knows what the table holds: then it is read anew.
        board, self._board = self._board, None
        with database.begin() as session:
            board = board or Board.load(session, self.pool)
            changed = write_seats(session, plan, stored)
            board.write(session, plan.outlooks, look.now)
            write_heartbeat(session, self.pool, plan.figures)
        self._board = board
        return changed

    def keep_books(self, database: Database, known: Known) -> None:
        """Store what need not be fresh: lags, turns, the expected seconds of groups."""
        with database.begin() as session:
            self.ledger.store(session)
            self.ledger.refresh(session)
        if self._look:
            snapshot = self._look.snapshot
            expected = expect_seconds(snapshot, known.learned.families())
            with database.begin() as session:
                write_turns(session, self.pool, snapshot.accounts)
                write_seconds(session, expected, self._look.stored_seconds)

    def _complain_if_slow(self, seconds: float, snapshot: Snapshot) -> None:
        if seconds > self.policy.period_seconds:
            log.warning(
                "A plan took longer than the time between plans.",
                pool=self.pool,
                seconds=round(seconds, 2),
                devices=len(snapshot.devices),
                groups=len(snapshot.groups),
            )


def _count_idle(snapshot: Snapshot, changed: Iterable[Seat]) -> int:
    """How many workers wait for a ring: they have a new seat and nothing to do."""
    idle = {device.id for device in snapshot.devices if device.is_ready and device.serving is None}
    return sum(seat.device in idle for seat in changed)

"""What each owner is owed: lags in GPU-seconds. The fold stores its charges, a ledger what plans add, now and then.

Both are added to what the database has, so that two leaders for a while, or one that ends, take nothing away.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nlargest

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.dispatch.planned import Share
from farm.queue.counts.shares import WEIGHED_PROJECTS

AccountKey = tuple[int, int | None]
"""(owner, project that has a weight)"""

_LEAST_SECONDS = 0.5
"""What moved by less is not written."""
_LEAST_RATE = 0.05
_MOST_WRITTEN = 2_000
"""In one go, those that moved most: what waits moves on, until its turn comes."""

# What is left of a project that has no weight any more counts as work for none.
_LOAD = text(
    f"""
    SELECT s.owner_id, p.id, sum(s.lag), sum(s.rate), sum(s.used_seconds)
    FROM shares s LEFT JOIN {WEIGHED_PROJECTS} p ON p.id = s.project_id
    WHERE s.pool = :pool GROUP BY s.owner_id, p.id
    """
)
_STORE = text(
    """
    INSERT INTO shares (pool, owner_id, project_id, lag, rate)
    SELECT :pool, n.owner_id, coalesce(n.project_id, 0), n.gained, n.rate
    FROM unnest(CAST(:owners AS bigint[]), CAST(:projects AS bigint[]), CAST(:gained AS float8[]),
                CAST(:rates AS float8[])) AS n (owner_id, project_id, gained, rate)
    JOIN users u ON u.id = n.owner_id
    ORDER BY n.owner_id, coalesce(n.project_id, 0)
    ON CONFLICT (pool, owner_id, project_id) DO UPDATE
    SET lag = shares.lag + excluded.lag, rate = excluded.rate, updated_at = now()
    """
)
_WEIGHTS = text("SELECT id, weight FROM users WHERE id = ANY(:ids)")
_PROJECT_WEIGHTS = text("SELECT id, weight FROM projects WHERE id = ANY(:ids) AND weight IS NOT NULL")


@dataclass
class Standing:
    """One account in one pool. `gained` is the part of the lag that plans added and nobody stored yet."""

    lag: float = 0.0
    rate: float = 0.0
    used_seconds: float = 0.0
    gained: float = 0.0
    stored_rate: float = 0.0

    @property
    def is_to_store(self) -> bool:
        """Whether it is worth writing."""
        return abs(self.gained) >= _LEAST_SECONDS or abs(self.rate - self.stored_rate) >= _LEAST_RATE

    @property
    def unstored(self) -> float:
        """How far it is from what is stored."""
        return abs(self.gained) + abs(self.rate - self.stored_rate)


@dataclass
class Ledger:
    """The accounts of a pool, as its leader keeps them between two looks at what is stored."""

    pool: str
    standings: dict[AccountKey, Standing] = field(default_factory=lambda: defaultdict(Standing))

    @classmethod
    def load(cls, session: Session, pool: str) -> "Ledger":
        """The accounts as they are stored: at most some seconds of what plans added are missing."""
        ledger = cls(pool)
        ledger.refresh(session)
        return ledger

    def refresh(self, session: Session) -> None:
        """Take over what is stored, and keep what was gained and is not: others may have charged accounts too."""
        found = defaultdict(Standing)
        for owner, project, lag, rate, used in session.execute(_LOAD, {"pool": self.pool}):
            found[owner, project] = Standing(lag, rate, used, stored_rate=rate)
        for key, standing in self.standings.items():
            if standing.gained or standing.rate:
                found[key].gained = standing.gained
                found[key].lag += standing.gained
                found[key].rate = standing.rate
        self.standings = found

    def charge(self, key: AccountKey, seconds: float) -> None:
        """Learn what the fold charged an account and stored; what was too much comes back as less than nothing."""
        standing = self.standings[key]
        standing.lag -= seconds
        standing.used_seconds += seconds

    def lag(self, key: AccountKey) -> float:
        return self.standings[key].lag if key in self.standings else 0.0

    def open_keys(self) -> set[AccountKey]:
        """The accounts that are owed something, or owe something."""
        return {key for key, standing in self.standings.items() if abs(standing.lag) >= _LEAST_SECONDS}

    def settle(self, shares: Iterable[Share]) -> None:
        """Take over what a plan made of the lags. Accounts that it does not name have no rate."""
        named = {(share.owner, share.project): share for share in shares}
        for key, share in named.items():
            standing = self.standings[key]
            standing.gained += share.lag - standing.lag
            standing.lag, standing.rate = share.lag, share.rate
        for key in self.standings.keys() - named.keys():
            self.standings[key].rate = 0.0

    def store(self, session: Session) -> int:
        """Add what was gained to what is stored; return how many rows that changed.

        Where the transaction fails, nobody knows whether it did: it counts as stored, and is never added twice.
        """
        moved = [key for key, standing in self.standings.items() if standing.is_to_store]
        moved = nlargest(_MOST_WRITTEN, moved, key=lambda key: self.standings[key].unstored)
        moved.sort(key=lambda key: (key[0], key[1] or 0))
        if not moved:
            return 0
        values = [self.standings[key] for key in moved]
        columns = {
            "owners": [owner for owner, _ in moved],
            "projects": [project for _, project in moved],
            "gained": [standing.gained for standing in values],
            "rates": [standing.rate for standing in values],
        }
        for standing in values:
            standing.gained, standing.stored_rate = 0.0, standing.rate
        session.execute(_STORE, {"pool": self.pool, **columns})
        return len(moved)


def read_weights(session: Session, owners: Iterable[int], projects: Iterable[int]) -> "Weights":
    """What these users and projects weigh."""
    users = session.execute(_WEIGHTS, {"ids": sorted(owners)})
    of_projects = session.execute(_PROJECT_WEIGHTS, {"ids": sorted(projects)})
    return Weights({row.id: row.weight for row in users}, {row.id: row.weight for row in of_projects})


@dataclass(frozen=True)
class Weights:
    """What users and projects weigh, relative to each other."""

    users: Mapping[int, float]
    projects: Mapping[int, float]

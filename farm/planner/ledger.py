"""What each owner is owed: lags in GPU-seconds, charged by what the fold returns, stored now and then."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.dispatch.planned import Share

AccountKey = tuple[int, int | None]
"""(owner, project)"""

_LEAST_SECONDS = 0.5
"""What moved by less is not written."""
_MOST_WRITTEN = 2_000

_LOAD = text("SELECT owner_id, nullif(project_id, 0), lag, rate, used_seconds FROM shares WHERE pool = :pool")
_STORE = text(
    """
    INSERT INTO shares (pool, owner_id, project_id, lag, rate, used_seconds)
    SELECT :pool, n.owner_id, coalesce(n.project_id, 0), n.lag, n.rate, n.used
    FROM unnest(CAST(:owners AS bigint[]), CAST(:projects AS bigint[]), CAST(:lags AS float8[]),
                CAST(:rates AS float8[]), CAST(:used AS float8[])) AS n (owner_id, project_id, lag, rate, used)
    JOIN users u ON u.id = n.owner_id
    ORDER BY n.owner_id, coalesce(n.project_id, 0)
    ON CONFLICT (pool, owner_id, project_id) DO UPDATE
    SET lag = excluded.lag, rate = excluded.rate, used_seconds = excluded.used_seconds, updated_at = now()
    """
)
_WEIGHTS = text("SELECT id, weight FROM users WHERE id = ANY(:ids)")
_PROJECT_WEIGHTS = text("SELECT id, weight FROM projects WHERE id = ANY(:ids)")


@dataclass
class Standing:
    """One account in one pool."""

    lag: float = 0.0
    rate: float = 0.0
    used_seconds: float = 0.0

    def differs_from(self, other: "Standing | None") -> bool:
        """Whether it is worth writing."""
        if other is None:
            return abs(self.lag) + self.rate + self.used_seconds > 0
        moved = max(abs(self.lag - other.lag), abs(self.used_seconds - other.used_seconds))
        return moved >= _LEAST_SECONDS or abs(self.rate - other.rate) >= 0.05


@dataclass
class Ledger:
    """The accounts of a pool, as its leader keeps them, and what of them is stored."""

    pool: str
    standings: dict[AccountKey, Standing] = field(default_factory=lambda: defaultdict(Standing))
    _stored: dict[AccountKey, Standing] = field(default_factory=dict)

    @classmethod
    def load(cls, session: Session, pool: str) -> "Ledger":
        """The accounts as the leader before stored them: at most some seconds of charges are missing."""
        ledger = cls(pool)
        for owner, project, lag, rate, used in session.execute(_LOAD, {"pool": pool}):
            ledger.standings[owner, project] = Standing(lag, rate, used)
            ledger._stored[owner, project] = Standing(lag, rate, used)
        return ledger

    def charge(self, key: AccountKey, seconds: float) -> None:
        """Charge an account so many device seconds; what was charged too much before comes as less than nothing."""
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
            standing.lag, standing.rate = share.lag, share.rate
        for key in self.standings.keys() - named.keys():
            self.standings[key].rate = 0.0

    def forget_stored(self) -> None:
        """Nobody knows what is stored: all that is open is written again."""
        self._stored.clear()

    def store(self, session: Session) -> int:
        """Write the accounts that moved; return how many rows that were."""
        moved = [key for key, standing in self.standings.items() if standing.differs_from(self._stored.get(key))]
        moved = sorted(moved, key=lambda key: (key[0], key[1] or 0))[:_MOST_WRITTEN]
        if not moved:
            return 0
        values = [self.standings[key] for key in moved]
        session.execute(
            _STORE,
            {
                "pool": self.pool,
                "owners": [owner for owner, _ in moved],
                "projects": [project for _, project in moved],
                "lags": [standing.lag for standing in values],
                "rates": [standing.rate for standing in values],
                "used": [standing.used_seconds for standing in values],
            },
        )
        self._stored.update({key: Standing(**vars(self.standings[key])) for key in moved})
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

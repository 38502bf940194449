"""The order in which owners are served by claims that no plan decides: a turn for each owner, by priority."""

from collections.abc import Iterable

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.dispatch.snapshot import Account, Backlog

QueueKey = tuple[int, int]
"""(priority, owner)"""

_MOVED_SECONDS = 5.0
"""A turn that moved by less is not written: claims by themselves need an order, not a balance."""
_MOST_WRITTEN = 2_000

_READ = text("SELECT priority, owner_id, turn, is_waiting FROM queues WHERE pool = :pool")
_PUT = text(
    """
    INSERT INTO queues (pool, priority, owner_id, turn)
    SELECT :pool, n.priority, n.owner_id, n.turn
    FROM unnest(CAST(:priorities AS integer[]), CAST(:owners AS bigint[]), CAST(:turns AS float8[]))
         AS n (priority, owner_id, turn)
    JOIN users u ON u.id = n.owner_id
    ORDER BY n.priority, n.owner_id
    ON CONFLICT (pool, priority, owner_id) DO UPDATE SET turn = excluded.turn, is_waiting = true
    """
)
# Only while the database agrees that nothing is ready: a submit may have come between.
_REST = text(
    """
    UPDATE queues q SET is_waiting = false
    FROM unnest(CAST(:priorities AS integer[]), CAST(:owners AS bigint[])) AS n (priority, owner_id)
    WHERE q.pool = :pool AND q.priority = n.priority AND q.owner_id = n.owner_id AND q.is_waiting
      AND NOT EXISTS (SELECT FROM counters c WHERE c.pool = :pool AND c.owner_id = q.owner_id
                      AND c.priority = q.priority AND c.is_ready AND c.has_queued)
    """
)


def write_turns(session: Session, pool: str, backlogs: Iterable[Backlog], accounts: Iterable[Account]) -> int:
    """Put every owner with something ready in the queues, by what each is owed; return how many rows changed.

    Whoever is owed most for their weight has the lowest turn. Owners with nothing ready rest.
    """
    stored = {(row.priority, row.owner_id): row for row in session.execute(_READ, {"pool": pool})}
    turns = find_turns(accounts)
    wanted = {(backlog.priority, backlog.owner): turns.get(backlog.owner, 0.0) for backlog in backlogs}
    changed = [
        key
        for key, turn in sorted(wanted.items())
        if key not in stored or not stored[key].is_waiting or abs(stored[key].turn - turn) > _MOVED_SECONDS
    ][:_MOST_WRITTEN]
    resting = [key for key, row in sorted(stored.items()) if row.is_waiting and key not in wanted][:_MOST_WRITTEN]
    if changed:
        session.execute(_PUT, {"pool": pool, **_columns(changed), "turns": [wanted[key] for key in changed]})
    if resting:
        session.execute(_REST, {"pool": pool, **_columns(resting)})
    return len(changed) + len(resting)


def find_turns(accounts: Iterable[Account]) -> dict[int, float]:
    """Minus what each owner is owed for their weight, over all projects: seconds."""
    turns: dict[int, float] = {}
    for account in accounts:
        turns[account.owner] = turns.get(account.owner, 0.0) - account.lag / account.weight
    return turns


def _columns(keys: Iterable[QueueKey]) -> dict[str, list[int]]:
    priorities, owners = map(list, zip(*keys, strict=True))
    return {"priorities": priorities, "owners": owners}

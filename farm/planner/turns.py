"""The order in which owners are served by claims that no plan decides: a turn for each owner, by priority.

Which queues there are is not decided here: submits open them (`farm.queue.offers.readiness`), and the keeper
closes them.
"""

from collections.abc import Iterable
from heapq import nlargest

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.dispatch.snapshot import Account

_MOVED_SECONDS = 5.0
"""A turn that moved by less is not written: claims by themselves need an order, not a balance."""
_MOST_WRITTEN = 2_000
"""In one go, those that moved most."""

_READ = text("SELECT priority, owner_id, turn FROM queues WHERE pool = :pool AND is_waiting")
# What a submit or the keeper holds at the moment is left to the next time.
_WRITE = text(
    """
    UPDATE queues q SET turn = free.turn
    FROM (
        SELECT o.priority, o.owner_id, n.turn
        FROM unnest(CAST(:priorities AS integer[]), CAST(:owners AS bigint[]), CAST(:turns AS float8[]))
             AS n (priority, owner_id, turn)
        JOIN queues o ON o.pool = :pool AND o.priority = n.priority AND o.owner_id = n.owner_id
        ORDER BY o.priority, o.owner_id FOR UPDATE OF o SKIP LOCKED
    ) free
    WHERE q.pool = :pool AND q.priority = free.priority AND q.owner_id = free.owner_id
    """
)


def write_turns(session: Session, pool: str, accounts: Iterable[Account]) -> int:
    """Order the owners who wait by what each is owed; return for how many queues that changed something.

    The owner who is owed most for their weight has the lowest turn, which is the next.
    """
    turns = find_turns(accounts)
    by_how_much = {
        (row.priority, row.owner_id): abs(turns.get(row.owner_id, 0.0) - row.turn)
        for row in session.execute(_READ, {"pool": pool})
    }
    moved = [key for key, seconds in by_how_much.items() if seconds > _MOVED_SECONDS]
    moved = sorted(nlargest(_MOST_WRITTEN, moved, key=lambda key: by_how_much[key]))
    if moved:
        priorities, owners = map(list, zip(*moved, strict=True))
        values = {"priorities": priorities, "owners": owners, "turns": [turns.get(o, 0.0) for o in owners]}
        session.execute(_WRITE, {"pool": pool, **values})
    return len(moved)


def find_turns(accounts: Iterable[Account]) -> dict[int, float]:
    """Minus what each owner is owed for their weight, over all projects: seconds."""
    turns: dict[int, float] = {}
    for account in accounts:
        turns[account.owner] = turns.get(account.owner, 0.0) - account.lag / account.weight
    return turns

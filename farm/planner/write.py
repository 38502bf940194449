"""From a plan to the database: what changed of it and nothing else, set by set, in the order of keys."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.dispatch.planned import Figures, Plan
from farm.dispatch.snapshot import Seat

# Workers and groups may be gone by now: what names them is left out, not refused.
_PUT_SEATS = text(
    """
    INSERT INTO seats (worker_id, group_id, owner_id, images, next_checkpoint_id, reason)
    SELECT n.* FROM unnest(CAST(:workers AS bigint[]), CAST(:groups AS bigint[]), CAST(:owners AS bigint[]),
                           CAST(:images AS integer[]), CAST(:next AS bigint[]), CAST(:reasons AS text[]))
                    AS n (worker_id, group_id, owner_id, images, next_checkpoint_id, reason)
    JOIN workers w ON w.id = n.worker_id JOIN groups g ON g.id = n.group_id
    ORDER BY n.worker_id
    ON CONFLICT (worker_id) DO UPDATE
    SET group_id = excluded.group_id, owner_id = excluded.owner_id, images = excluded.images,
        next_checkpoint_id = excluded.next_checkpoint_id, reason = excluded.reason, planned_at = now()
    """
)
_TAKE_SEATS = text("DELETE FROM seats WHERE worker_id = ANY(:workers)")
_HEARTBEAT = text(
    """
    INSERT INTO plans (pool, figures) VALUES (:pool, CAST(:figures AS jsonb))
    ON CONFLICT (pool) DO UPDATE SET planned_at = clock_timestamp(), figures = excluded.figures
    """
)


def write_seats(session: Session, plan: Plan, stored: Mapping[int, Seat]) -> list[Seat]:
    """Store the seats that differ from those that are stored, and take back the others; return the new ones."""
    wanted = {seat.device: seat for seat in plan.seats}
    changed = [seat for device, seat in sorted(wanted.items()) if stored.get(device) != seat]
    gone = sorted(stored.keys() - wanted.keys())
    if gone:
        session.execute(_TAKE_SEATS, {"workers": gone})
    if changed:
        session.execute(_PUT_SEATS, _columns(changed))
    return changed


def _columns(seats: Iterable[Seat]) -> dict[str, list[int] | list[int | None] | list[str]]:
    listed = list(seats)
    return {
        "workers": [seat.device for seat in listed],
        "groups": [seat.group for seat in listed],
        "owners": [seat.owner for seat in listed],
        "images": [max(1, seat.images) for seat in listed],
        "next": [seat.next_checkpoint for seat in listed],
        "reasons": [str(seat.reason) for seat in listed],
    }


def write_heartbeat(session: Session, pool: str, figures: Figures) -> None:
    """Say that the pool was planned now: claims follow seats only while this is recent."""
    session.execute(_HEARTBEAT, {"pool": pool, "figures": json.dumps(asdict(figures))})

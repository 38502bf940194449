"""Devices that change their checkpoint for fairness, before their work is done, and what has waited too long."""

from farm.dispatch.board import Board
from farm.dispatch.bounds import FORCED_STAY_SECONDS
from farm.dispatch.planned import SeatReason
from farm.dispatch.shares import Key


def move_busy(board: Board, limits: dict[Key, float]) -> None:
    """While there is not room for all: move seats from what has too many to what has too few, one at a time.

    A seat moves where the difference is more than one device beyond what both may be off, and only for a
    checkpoint that has none or whose owners are owed something: differences that cancel out move nothing.
    """
    if not board.demand.is_saturated:
        return
    takers = sorted((c for c in board.rows if _lacks(board, c) > 0), key=lambda c: (-_lacks(board, c), c))
    takers = [c for c in takers if board.count(c) == 0 or _is_owed(board, c, limits)]
    givers = {c for c, devices in board.on.items() if devices and _spares(board, c) > -1}
    for taker in takers:
        while givers:
            giver = max(givers, key=lambda c: (_spares(board, c), c))
            if _lacks(board, taker) + _spares(board, giver) <= 1:
                break
            device = _donor(board, giver, taker)
            if device is None:
                givers.discard(giver)
                continue
            board.move(device, taker, SeatReason.SHARE)


def _lacks(board: Board, checkpoint: int) -> float:
    return -board.surplus(checkpoint) - board.slack.get(checkpoint, 0.0)


def _spares(board: Board, checkpoint: int) -> float:
    return board.surplus(checkpoint) - board.slack.get(checkpoint, 0.0)


def _is_owed(board: Board, checkpoint: int, limits: dict[Key, float]) -> bool:
    return any(board.owed.get(key, 0.0) > limits[key] / 4 for key in board.demand.allowed[checkpoint])


def _donor(board: Board, giver: int, taker: int) -> int | None:
    return min(
        (d for d in board.on[giver] if _may_leave(board, d) and board.may(d, taker)),
        key=lambda d: (board.load_seconds(d, taker), board.devices[d].memory_bytes, board.free_at(d), d),
        default=None,
    )


def _may_leave(board: Board, device: int) -> bool:
    if device in board.seats or device in board.moved:
        return False
    return board.stays_until.get(device, 0.0) <= board.now


def force(board: Board, waiting: dict[int, float], bound: float) -> None:
    """Seat what has waited without a device for longer than the bound, the longest first."""
    late = [c for c, since in waiting.items() if board.now - since > bound and board.count(c) == 0]
    for checkpoint in sorted(late, key=lambda c: (waiting[c], c)):
        device = min(
            (d for d in board.devices if _may_leave(board, d) and board.may(d, checkpoint)),
            key=lambda d: (
                board.count(at) <= 1 if (at := board.at[d]) is not None else False,
                -board.surplus(board.at[d]),
                board.load_seconds(d, checkpoint),
                board.free_at(d),
                d,
            ),
            default=None,
        )
        if device is None:
            return
        board.move(device, checkpoint, SeatReason.OVERDUE)
        board.stays_until[device] = board.stays_until.get(device, board.free_at(device)) + FORCED_STAY_SECONDS

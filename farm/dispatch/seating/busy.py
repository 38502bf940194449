"""Devices that change their checkpoint for fairness, before their work is done, and what has waited too long."""

import heapq

from farm.dispatch.bounds import FORCED_STAY_SECONDS
from farm.dispatch.planned import SeatReason
from farm.dispatch.seating.board import Board
from farm.dispatch.shares import Key

_GIVERS = 32
"""How many checkpoints are asked in vain for a device before the next taker's turn."""


def move_busy(board: Board, limits: dict[Key, float]) -> None:
    """While there is not room for all: move seats from what has too many to what has too few, one at a time.

    A seat moves where the difference is more than one device beyond what both may be off, and only for a
    checkpoint that has none or whose owners are owed something: differences that cancel out move nothing.
    """
    if not board.demand.is_saturated:
        return
    takers = sorted((c for c in board.rows if _lacks(board, c) > 0), key=lambda c: (-_lacks(board, c), c))
    givers = [(-_spares(board, c), c) for c, devices in board.on.items() if devices]
    heapq.heapify(givers)
    for taker in takers:
        if board.count(taker) == 0 or _is_owed(board, taker, limits):
            _take_from(board, givers, taker)


def _take_from(board: Board, givers: list[tuple[float, int]], taker: int) -> None:
    """Move devices to one checkpoint from those that can best spare them. `givers` is a heap, and stays one."""
    kept: list[tuple[float, int]] = []
    while givers and _lacks(board, taker) - givers[0][0] > 1 and len(kept) < _GIVERS:
        spares, giver = heapq.heappop(givers)
        now_spares = -_spares(board, giver)
        device = None if now_spares > spares else _donor(board, giver, taker)
        if device is not None:
            board.move(device, taker, SeatReason.SHARE)
            heapq.heappush(givers, (-_spares(board, giver), giver))
        elif now_spares > spares:
            heapq.heappush(givers, (now_spares, giver))
        else:
            kept.append((spares, giver))
    for entry in kept:
        heapq.heappush(givers, entry)


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
    leavers = [d for d in board.devices if _may_leave(board, d)] if late else []
    for checkpoint in sorted(late, key=lambda c: (waiting[c], c)):
        device = min(
            (d for d in leavers if board.may(d, checkpoint)),
            key=lambda d: _loss(board, d, checkpoint),
            default=None,
        )
        if device is not None:
            leavers.remove(device)
            board.move(device, checkpoint, SeatReason.OVERDUE)
            stays = board.stays_until.get(device, board.free_at(device))
            board.stays_until[device] = stays + FORCED_STAY_SECONDS


def _loss(board: Board, device: int, checkpoint: int) -> tuple[float, ...]:
    """What is lost if a device leaves: the last of its checkpoint, what others need, the load, and time."""
    at = board.at[device]
    is_last = at is not None and board.count(at) <= 1
    return is_last, -board.surplus(at), board.load_seconds(device, checkpoint), board.free_at(device), device

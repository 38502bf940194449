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
    """Seat what has waited without a device for longer than the bound, the longest first, within the budget.

    Where only accounts in debt wait, it is seated after all others, and after it has waited as long as rises.
    """
    late = _find_late(board, waiting, bound)
    leavers = [d for d in board.devices if _may_leave(board, d)] if late else []
    held = {checkpoint for d in leavers for checkpoint in board.devices[d].residents}
    for checkpoint in late:
        if board.forced_budget > 0 or checkpoint in held:
            _force(board, leavers, checkpoint)


def _find_late(board: Board, waiting: dict[int, float], bound: float) -> list[int]:
    late = []
    for checkpoint, since in waiting.items():
        seconds = board.now - since - bound
        if seconds > 0 and board.count(checkpoint) == 0:
            is_for_debtors = all(board.is_in_debt(row.key) for row in board.rows[checkpoint] if row.left)
            if not is_for_debtors or seconds > board.policy.rise_seconds:
                late.append((is_for_debtors, since, checkpoint))
    return [checkpoint for _, _, checkpoint in sorted(late)]


def _force(board: Board, leavers: list[int], checkpoint: int) -> None:
    """Move the device that leaves with least loss; once the budget is spent, one that need not load."""
    device = min(
        (
            d
            for d in leavers
            if board.may(d, checkpoint) and (board.forced_budget > 0 or not board.load_seconds(d, checkpoint))
        ),
        key=lambda d: _loss(board, d, checkpoint),
        default=None,
    )
    if device is None:
        return
    leavers.remove(device)
    board.forced_budget -= board.load_seconds(device, checkpoint)
    board.move(device, checkpoint, SeatReason.OVERDUE)
    stays = board.stays_until.get(device, board.free_at(device))
    board.stays_until[device] = stays + FORCED_STAY_SECONDS


def _loss(board: Board, device: int, checkpoint: int) -> tuple[float, ...]:
    """What is lost if a device leaves: the last of its checkpoint, what others need, the load, and time."""
    at = board.at[device]
    is_last = at is not None and board.count(at) <= 1
    return is_last, -board.surplus(at), board.load_seconds(device, checkpoint), board.free_at(device), device

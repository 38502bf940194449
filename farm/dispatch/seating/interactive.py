"""Seats for those who wait for few images: on what is resident and free soon, else by a load, within a budget."""

from farm.dispatch.classes import INTERACTIVE, Row
from farm.dispatch.planned import SeatReason
from farm.dispatch.seating.board import Board
from farm.dispatch.seating.seats import give

_CANDIDATES = 128
"""How many of the devices that are free soonest are considered for a load: thousands are not needed."""


def seat_interactive(board: Board) -> None:
    """Seat the oldest interactive images first.

    1. The device that holds the checkpoint and is free first, if that is within a load and a batch. 2. Else the
    device that could begin first, loading included, and whose checkpoint is missed least. Such loads cost
       the budget.
    """
    rows = [row for rows in board.rows.values() for row in rows if row.level[0] == INTERACTIVE and row.left]
    if not rows:
        return
    holders = _find_holders(board)
    nearest = sorted(board.devices, key=lambda d: (board.free_at(d), d))[:_CANDIDATES]
    for row in sorted(rows, key=lambda row: (row.since, row.group.id, row.key[0])):
        while row.left > 0:
            device = _find_device(board, row, holders, nearest)
            if device is None:
                break
            give(board, device, row, SeatReason.INTERACTIVE)


def _find_holders(board: Board) -> dict[int, list[int]]:
    """By checkpoint, the devices that hold it or are about to load it."""
    holders: dict[int, list[int]] = {}
    for device in board.devices.values():
        coming = [seat.group for seat in (device.seat, device.serving) if seat is not None]
        held = {board.groups[group].checkpoint for group in coming if group in board.groups}
        for checkpoint in held.union(device.residents):
            holders.setdefault(checkpoint, []).append(device.id)
    return holders


def _find_device(board: Board, row: Row, holders: dict[int, list[int]], nearest: list[int]) -> int | None:
    checkpoint = row.group.checkpoint
    may = board.feasible.may
    free = [d for d in holders.get(checkpoint, ()) if d not in board.seats and may(d, row.group.id)]
    best = min(free, key=lambda d: (board.free_at(d) + board.load_seconds(d, checkpoint), d), default=None)
    wait = board.free_at(best) + board.load_seconds(best, checkpoint) - board.now if best is not None else 1e9
    fresh = board.usual_load(checkpoint)
    if best is not None and wait <= fresh + row.seconds * board.batches.images(row.group, board.devices[best]):
        return best
    other = min(
        (d for d in nearest if _may_load(board, d, row)),
        key=lambda d: (_cost(board, d, checkpoint), d),
        default=None,
    )
    if other is None or _cost(board, other, checkpoint) >= wait or board.load_budget <= 0:
        return best
    board.load_budget -= board.load_seconds(other, checkpoint)
    holders.setdefault(checkpoint, []).append(other)
    return other


def _may_load(board: Board, device: int, row: Row) -> bool:
    return device not in board.seats and board.feasible.may(device, row.group.id)


def _cost(board: Board, device: int, checkpoint: int) -> float:
    """Seconds until it could begin, and what its own checkpoint loses."""
    at = board.at[device]
    found = board.devices[device]
    cost = board.free_at(device) - board.now + board.load_seconds(device, checkpoint)
    if at is None or len(found.residents) < found.slots:
        return cost
    return cost + board.missed(device)

"""What a device renders next at its checkpoint: which group, whose images first, and how many."""

import heapq
from collections.abc import Iterable

from farm.dispatch.classes import BULK, Row
from farm.dispatch.planned import SeatReason
from farm.dispatch.seating.board import Board
from farm.dispatch.snapshot import Seat

Order = tuple[int, int, int, float, int, int]


def give(board: Board, device: int, row: Row, reason: SeatReason, *, images: int | None = None) -> None:
    """Seat a device on a row and take what it is going to claim off the rows of that group, this one first."""
    most = board.batches.images(row.group, board.devices[device])
    images = most if images is None else min(images, most)
    board.seats[device] = Seat(device, row.group.id, row.key[0], images, None, reason)
    left = _take(row, images, board)
    if left:
        for other in board.rows[row.group.checkpoint]:
            if left and other is not row and other.left and other.group.id == row.group.id:
                left = _take(other, left, board)


def fill(board: Board, checkpoint: int, devices: Iterable[int]) -> list[int]:
    """Seat devices, those free first before others, on rows of their checkpoint; return those left over."""
    rows = board.rows[checkpoint]
    queue = [(_order(board, row), i, row) for i, row in enumerate(rows) if row.left > 0 and row.devices_left != 0]
    heapq.heapify(queue)
    devices = list(devices)
    idle = sum(1 for d in devices if board.devices[d].serving is None)
    over = []
    for device in devices:
        row = _next_row(board, queue, device)
        if row is None:
            over.append(device)
            continue
        images = _spread(board, device, row, idle)
        idle -= board.devices[device].serving is None
        give(board, device, row, board.reasons.get(device, SeatReason.STAYS), images=images)
    return over


def _next_row(board: Board, queue: list[tuple[Order, int, Row]], device: int) -> Row | None:
    """The first row in order that the device may render. A row whose order fell meanwhile is put back."""
    unsuited = []
    found = None
    while queue and found is None:
        order, i, row = heapq.heappop(queue)
        if not _is_open(row):
            continue
        if not board.feasible.may(device, row.group.id):
            unsuited.append((order, i, row))
            continue
        current = _order(board, row)
        if current > order and queue and queue[0][0] < current:
            heapq.heappush(queue, (current, i, row))
            continue
        found = row
        heapq.heappush(queue, (current, i, row))
    for entry in unsuited:
        heapq.heappush(queue, entry)
    return found


def _order(board: Board, row: Row) -> Order:
    """Class, priority, who waited too long; then first come, or who is owed most without room for all."""
    rank, priority = board.level(row)
    is_late = board.now - row.since > board.policy.served_seconds
    if rank != BULK or not board.demand.is_saturated or is_late:
        return rank, priority, 0, row.since, row.group.id, row.key[0]
    owed = board.owed.get(row.key, 0.0) / board.weights.get(row.key, 1.0)
    return rank, priority, 1, -owed, row.group.id, row.key[0]


def _is_open(row: Row) -> bool:
    return row.left > 0 and row.devices_left != 0


def _spread(board: Board, device: int, row: Row, idle: int) -> int:
    """A full batch; less where others are idle too, as there is room: a short queue ends sooner on several."""
    most = board.batches.images(row.group, board.devices[device])
    if idle <= 1 or board.devices[device].serving is not None:
        return most
    queued = sum(r.left for r in board.rows[row.group.checkpoint])
    return max(board.least_batch(most), min(most, -(-queued // idle)))


def _take(row: Row, images: int, board: Board) -> int:
    """Take images off a row, at its account's expense; return how many it had too few."""
    taken = min(images, row.left)
    row.left -= taken
    board.owed[row.key] = board.owed.get(row.key, 0.0) - taken * row.seconds
    if row.devices_left is not None:
        row.devices_left -= 1
    return images - taken

"""Devices that have nothing left to do where they are, and where they go."""

import heapq

from farm.dispatch.planned import SeatReason
from farm.dispatch.seating.board import Board

_WORTH_LOADS = 2.0
"""A checkpoint that takes a device that nobody owes it must have work for so many loads' time on it."""


def find_dry(board: Board) -> tuple[list[int], dict[int, int]]:
    """Devices that are free soon and find nothing, and by checkpoint how many batches nobody takes soon."""
    spare: dict[int, int] = {}
    dry = []
    for device in board.soon:
        if device in board.seats:
            continue
        at = board.at[device]
        if at is None or at not in board.rows:
            dry.append(device)
            continue
        left = spare[at] if at in spare else count_batches(board, at)
        spare[at] = left - 1
        if left <= 0 or not board.may(device, at):
            dry.append(device)
    for checkpoint in board.rows:
        if checkpoint not in spare:
            spare[checkpoint] = count_batches(board, checkpoint)
    return dry, spare


def count_batches(board: Board, checkpoint: int) -> int:
    """How many devices find a batch in what is left of a checkpoint (a small one, while there is room for all)."""
    images: dict[int, int] = {}
    for row in board.rows[checkpoint]:
        if row.left and row.devices_left != 0:
            group = row.group.id
            images[group] = images.get(group, 0) + row.left
    batches = 0
    for group, left in images.items():
        most = board.groups[group].batch_limit or board.largest_batch
        size = most if board.demand.is_saturated else board.least_batch(most)
        batches += -(-left // max(1, size))
    return batches


def move_dry(board: Board) -> None:
    """Give devices that are dry to what needs them most.

    1. To another checkpoint that they hold: it costs nothing.
    2. To checkpoints that lack more than half a device, those that lack most first; more than a whole one, if it is
       going to be needed where it is.
    3. To whatever is worth the load: what takes long, though it lacks nothing, ends sooner with one more.
    """
    dry, spare = find_dry(board)
    dry = _use_residents(board, dry, spare)
    needs = [(-need, c) for c in board.rows if spare[c] > 0 and (need := _need(board, c, spare)) > 0.5]
    heapq.heapify(needs)
    while needs and dry:
        need, checkpoint = heapq.heappop(needs)
        device = _choose(board, dry, checkpoint)
        if device is None or not _is_worth(board, device, -need):
            continue
        dry.remove(device)
        board.move(device, checkpoint, SeatReason.DRY)
        spare[checkpoint] -= 1
        need = _need(board, checkpoint, spare)
        if spare[checkpoint] > 0 and need > 0.5:
            heapq.heappush(needs, (-need, checkpoint))


def _is_worth(board: Board, device: int, need: float) -> bool:
    """While there is room for all, a device that will be needed where it is leaves for a whole device's need."""
    return board.demand.is_saturated or need > 0.5 + 0.5 * board.missed(device) / board.policy.missed_seconds


def _use_residents(board: Board, dry: list[int], spare: dict[int, int]) -> list[int]:
    over = []
    for device in dry:
        held = [c for c in board.devices[device].residents if spare.get(c, 0) > 0 and board.may(device, c)]
        if not held:
            over.append(device)
            continue
        best = max(held, key=lambda c: (-board.surplus(c), c))
        spare[best] -= 1
        board.move(device, best, SeatReason.RESIDENT)
    return over


def _need(board: Board, checkpoint: int, spare: dict[int, int]) -> float:
    """How many devices a checkpoint lacks; more than a half where it waits long enough or is worth a load."""
    need = -board.surplus(checkpoint)
    rows = board.rows[checkpoint]
    if board.count(checkpoint) == 0:
        images = sum([row.left for row in rows])
        oldest = min([row.since for row in rows])
        is_ripe = images >= board.policy.cold_images or board.now - oldest >= board.policy.cold_seconds
        return max(need, 0.51) if is_ripe or need > 0.5 else 0.0
    if need <= 0.5:
        work = sum(row.work for row in rows) / (board.count(checkpoint) + 1)
        load = board.usual_load(checkpoint)
        return 0.501 + need / 1e3 if work > _WORTH_LOADS * load else 0.0
    return need


def _choose(board: Board, devices: list[int], checkpoint: int) -> int | None:
    """What loads it soonest; then the smallest device, and the one that is missed least where it is."""
    kinds = board.kinds(checkpoint)
    suited = [d for d in devices if board.feasible.type_by_device[d] in kinds]
    return min(suited, key=lambda d: (_donor_order(board, d, checkpoint), d), default=None)


def _donor_order(board: Board, device: int, checkpoint: int) -> tuple[float, ...]:
    """Loading, and what its own checkpoint misses; then the smallest memory, and the most spare devices."""
    missed = board.missed(device)
    return board.load_seconds(device, checkpoint) + missed, board.devices[device].memory_bytes, -board.spare(device)

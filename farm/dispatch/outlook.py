"""Why each queued thing waits, and when it may start: the plan, said to those who wait."""

from dataclasses import dataclass

from farm.dispatch.board import Board
from farm.dispatch.bounds import longest_wait
from farm.dispatch.classes import BULK, Row
from farm.dispatch.planned import Outlook, WaitReason
from farm.dispatch.shares import Key
from farm.dispatch.snapshot import WorkClass


@dataclass(frozen=True, slots=True)
class _Checkpoint:
    """What a checkpoint's rows have in common: times are seconds from now on."""

    devices: int
    first_free: float
    load: float
    batch: float
    is_loading: bool
    accounts: int
    images: int
    oldest: float
    allowed: float


Name = tuple[int, Key, WorkClass]


def foresee(board: Board) -> tuple[Outlook, ...]:
    """One outlook for each group, account and class that waits, in the order of their numbers."""
    starts = _next_starts(board)
    soonest = min((board.free_at(d) - board.now for d in board.devices), default=0.0)
    found: dict[Name, tuple[tuple[int, int], Outlook]] = {}
    for checkpoint, rows in board.rows.items():
        shared = _describe(board, checkpoint, rows, soonest)
        for row in rows:
            name = row.group.id, row.key, row.class_
            if name not in found or row.level < found[name][0]:
                found[name] = row.level, _foresee_row(board, row, shared, starts)
    order = sorted(found, key=lambda name: (name[0], name[1][0], name[1][1] or 0, name[2]))
    return tuple(found[name][1] for name in order)


def _next_starts(board: Board) -> dict[tuple[int, int], float]:
    """By group and owner, when the first device that is seated there begins, in seconds."""
    starts: dict[tuple[int, int], float] = {}
    for device, seat in board.seats.items():
        load = board.load_seconds(device, board.groups[seat.group].checkpoint)
        begins = board.free_at(device) - board.now + load
        key = seat.group, seat.owner
        starts[key] = min(begins, starts.get(key, begins))
    return starts


def _describe(board: Board, checkpoint: int, rows: list[Row], soonest: float) -> _Checkpoint:
    on = board.on.get(checkpoint) or ()
    loads = [board.load_seconds(d, checkpoint) for d in on]
    any_device = next(iter(board.devices.values()), None)
    return _Checkpoint(
        devices=len(on),
        first_free=min((board.free_at(d) - board.now for d in on), default=soonest),
        load=board.usual_load(checkpoint),
        batch=rows[0].seconds * (board.batches.images(rows[0].group, any_device) if any_device else 1),
        is_loading=bool(loads) and min(loads) > 0,
        accounts=len({row.key for row in rows}),
        images=sum(row.left for row in rows),
        oldest=min(row.since for row in rows),
        allowed=sum(board.demand.allowed[checkpoint].values()),
    )


def _foresee_row(board: Board, row: Row, shared: _Checkpoint, starts: dict[tuple[int, int], float]) -> Outlook:
    reason = _reason(board, row, shared, starts)
    low, high = _range(board, row, shared, starts, reason)
    return Outlook(row.group.id, *row.key, row.class_, reason, low, high, _pace(board, row, shared))


def _reason(board: Board, row: Row, shared: _Checkpoint, starts: dict[tuple[int, int], float]) -> WaitReason:
    if not board.devices:
        return WaitReason.NO_DEVICE
    if row.group.id in board.feasible.unsuited:
        return WaitReason.UNSUITED
    if row.devices_left == 0 and row.left:
        return WaitReason.LIMITED
    if row.left == 0 or (row.group.id, row.key[0]) in starts:
        return WaitReason.LOADING if shared.is_loading else WaitReason.RUNS_NEXT
    if shared.devices == 0 and shared.images < board.policy.cold_images and not board.demand.is_saturated:
        return WaitReason.COLD
    if row.level[0] == BULK and board.demand.rates.get(row.key, 0.0) < 0.999 * board.demand.asked.get(row.key, 0.0):
        return WaitReason.SHARE
    return WaitReason.SEATED if shared.devices else WaitReason.BUSY


def _range(
    board: Board, row: Row, shared: _Checkpoint, starts: dict[tuple[int, int], float], reason: WaitReason
) -> tuple[float | None, float | None]:
    """The first and the last moment at which the first of these images may start, in seconds from now on."""
    if reason is WaitReason.NO_DEVICE:
        return None, None
    first = starts.get((row.group.id, row.key[0]))
    if first is not None:
        return first, first + shared.batch
    if shared.devices:
        low = shared.first_free
        return low, low + shared.batch * (1 + shared.accounts / shared.devices)
    if reason is WaitReason.COLD:
        patience = max(0.0, board.policy.cold_seconds - (board.now - shared.oldest))
        return shared.load, patience + shared.load + shared.batch
    most = longest_wait(
        board.policy,
        checkpoints=len(board.rows),
        devices=len(board.devices),
        accounts=shared.accounts,
        load_seconds=shared.load,
        batch_seconds=shared.batch,
    )
    return shared.first_free + shared.load, most


def _pace(board: Board, row: Row, shared: _Checkpoint) -> float:
    """Images a second of this account here: its part of the devices that are there, or of those it may have."""
    allowed = board.demand.allowed[row.group.checkpoint][row.key]
    part = shared.devices * allowed / shared.allowed if shared.allowed else 0.0
    return max(part, allowed) / row.seconds

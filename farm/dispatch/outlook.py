"""Why each queued thing waits, and when it may start: the plan, said to those who wait."""

from dataclasses import dataclass

from farm.dispatch.bounds import longest_wait
from farm.dispatch.classes import BULK, Row
from farm.dispatch.planned import Outlook, WaitReason
from farm.dispatch.seating.board import Board
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


Name = tuple[int, int, int, WorkClass]


def foresee(board: Board) -> tuple[Outlook, ...]:
    """One outlook for each group, account and class that waits, in the order of their numbers."""
    starts = _next_starts(board)
    soonest = min([board.free_at(d) - board.now for d in board.devices], default=0.0)
    found: dict[Name, tuple[tuple[int, int], Outlook]] = {}
    for checkpoint, rows in board.rows.items():
        shared = _describe(board, checkpoint, rows, soonest)
        for row in rows:
            group, (owner, project) = row.group.id, row.key
            name = group, owner, project or 0, row.class_
            other = found.get(name)
            if other is None or row.level < other[0]:
                found[name] = row.level, _foresee_row(board, row, shared, starts.get((group, owner)))
    return tuple([found[name][1] for name in sorted(found)])


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
    devices = board.devices
    any_device = next(iter(devices.values()), None)
    return _Checkpoint(
        devices=len(on),
        first_free=max(0.0, min([devices[d].free_at for d in on]) - board.now) if on else soonest,
        load=board.usual_load(checkpoint),
        batch=rows[0].seconds * (board.batches.images(rows[0].group, any_device) if any_device else 1),
        is_loading=bool(on) and not any(checkpoint in devices[d].residents for d in on),
        accounts=len({row.key for row in rows}),
        images=sum([row.left for row in rows]),
        oldest=min([row.since for row in rows]),
        allowed=sum(board.demand.allowed[checkpoint].values()),
    )


def _foresee_row(board: Board, row: Row, shared: _Checkpoint, first: float | None) -> Outlook:
    """`first` is when the first device that is seated for these images begins (None: there is none)."""
    reason = _reason(board, row, shared, first)
    low, high = _range(board, shared, reason) if first is None else (first, first + shared.batch)
    allowed = board.demand.allowed[row.group.checkpoint][row.key]
    devices = max(allowed, shared.devices * allowed / shared.allowed) if shared.allowed else allowed
    return Outlook(row.group.id, row.key[0], row.key[1], row.class_, reason, low, high, devices / row.seconds)


def _reason(board: Board, row: Row, shared: _Checkpoint, first: float | None) -> WaitReason:
    if not board.devices:
        return WaitReason.NO_DEVICE
    if row.group.id in board.feasible.unsuited:
        return WaitReason.UNSUITED
    if row.devices_left == 0 and row.left:
        return WaitReason.LIMITED
    if row.left == 0 or first is not None:
        return WaitReason.LOADING if shared.is_loading else WaitReason.RUNS_NEXT
    if shared.devices == 0 and shared.images < board.policy.cold_images and not board.demand.is_saturated:
        return WaitReason.COLD
    if row.level[0] == BULK and board.demand.rates.get(row.key, 0.0) < 0.999 * board.demand.asked.get(row.key, 0.0):
        return WaitReason.SHARE
    return WaitReason.SEATED if shared.devices else WaitReason.BUSY


def _range(board: Board, shared: _Checkpoint, reason: WaitReason) -> tuple[float | None, float | None]:
    """The first and the last moment at which the first of these images may start, in seconds from now on."""
    if reason is WaitReason.NO_DEVICE:
        return None, None
    low = shared.first_free
    if shared.devices:
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
    return low + shared.load, most

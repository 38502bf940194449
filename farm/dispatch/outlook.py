"""Why each queued thing waits, and when it may start: the plan, said to those who wait."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import itemgetter

from farm.dispatch.bounds import longest_wait
from farm.dispatch.classes import BULK, Row
from farm.dispatch.planned import Outlook, WaitReason
from farm.dispatch.seating.board import Board
from farm.dispatch.shares import Key
from farm.dispatch.snapshot import WorkClass

Name = tuple[int, int, int, WorkClass]
Range = tuple[float | None, float | None]


@dataclass(slots=True, eq=False)
class _Checkpoint:
    """What a checkpoint's rows have in common: times are seconds from now on."""

    devices: int
    first_free: float
    load: float
    batch: float
    is_loading: bool
    accounts: int
    images: int
    """How many are left, and since when they wait, where no device is."""
    oldest: float
    by_key: Mapping[Key, float]
    allowed: float
    ranges: dict[WaitReason, Range] = field(default_factory=dict)
    """By reason, as far as it was asked for."""


def foresee(board: Board) -> tuple[Outlook, ...]:
    """One outlook for each group, account and class that waits, in the order of their numbers."""
    starts = _next_starts(board)
    short = _find_short(board)
    soonest = min([board.free_at(d) - board.now for d in board.devices], default=0.0)
    found: list[tuple[Name, Outlook]] = []
    for checkpoint, rows in board.rows.items():
        shared = _describe(board, checkpoint, rows, soonest)
        for name, row in _first_rows(rows).items():
            first = starts.get((name[0], name[1]))
            found.append((name, _foresee_row(board, row, shared, first, is_short=row.key in short)))
    found.sort(key=itemgetter(0))
    return tuple([outlook for _, outlook in found])


def _first_rows(rows: list[Row]) -> dict[Name, Row]:
    """By group, account and class the row that is served first."""
    first: dict[Name, Row] = {}
    for row in rows:
        owner, project = row.key
        name = row.group.id, owner, project or 0, row.class_
        other = first.get(name)
        if other is None or row.level < other.level:
            first[name] = row
    return first


def _find_short(board: Board) -> set[Key]:
    """The accounts that are not given all that they ask for."""
    rates = board.demand.rates
    return {key for key, asked in board.demand.asked.items() if rates.get(key, 0.0) < 0.999 * asked}


def _next_starts(board: Board) -> dict[tuple[int, int], float]:
    """By group and owner, when the first device that is seated there begins, in seconds."""
    starts: dict[tuple[int, int], float] = {}
    groups, now = board.groups, board.now
    for device, seat in board.seats.items():
        load = board.load_seconds(device, groups[seat.group].checkpoint)
        begins = board.free_at(device) - now + load
        key = seat.group, seat.owner
        other = starts.get(key)
        if other is None or begins < other:
            starts[key] = begins
    return starts


def _describe(board: Board, checkpoint: int, rows: list[Row], soonest: float) -> _Checkpoint:
    on = board.on.get(checkpoint) or ()
    devices = board.devices
    any_device = next(iter(devices.values()), None)
    by_key = board.demand.allowed[checkpoint]
    return _Checkpoint(
        devices=len(on),
        first_free=max(0.0, min([devices[d].free_at for d in on]) - board.now) if on else soonest,
        load=board.usual_load(checkpoint),
        batch=rows[0].seconds * (board.batches.images(rows[0].group, any_device) if any_device else 1),
        is_loading=bool(on) and not any(checkpoint in devices[d].residents for d in on),
        accounts=len(by_key),
        images=0 if on else sum([row.left for row in rows]),
        oldest=0.0 if on else min([row.since for row in rows]),
        by_key=by_key,
        allowed=sum(by_key.values()),
    )


def _foresee_row(board: Board, row: Row, shared: _Checkpoint, first: float | None, *, is_short: bool) -> Outlook:
    """`first` is when the first device that is seated for these images begins (None: there is none)."""
    reason = _reason(board, row, shared, first, is_short=is_short)
    found = shared.ranges.get(reason) if first is None else (first, first + shared.batch)
    if found is None:
        found = shared.ranges[reason] = _range(board, shared, reason)
    devices = allowed = shared.by_key[row.key]
    if shared.allowed:
        devices = max(allowed, shared.devices * allowed / shared.allowed)
    owner, project = row.key
    return Outlook(row.group.id, owner, project, row.class_, reason, *found, devices / row.seconds)


def _reason(board: Board, row: Row, shared: _Checkpoint, first: float | None, *, is_short: bool) -> WaitReason:
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
    if is_short and board.level(row)[0] == BULK:
        return WaitReason.SHARE
    return WaitReason.SEATED if shared.devices else WaitReason.BUSY


def _range(board: Board, shared: _Checkpoint, reason: WaitReason) -> Range:
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

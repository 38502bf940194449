"""Which weights hosts should read while their devices render: what is coming, and what waits without a device."""

from dataclasses import replace

from farm.dispatch.seating.board import Board

_DEVICES_A_READ = 20
"""At most one host in so many devices reads something that no device is seated on yet."""


def read_ahead(board: Board) -> None:
    """Say on each seat what comes next.

    1. A device whose next checkpoint is not resident: that one. 2. For checkpoints that wait without a device,
    and that no host has cached: a device that can best be spared. It
       is preferred for them later, since loads from a cache are shorter.
    """
    for device, seat in board.seats.items():
        checkpoint = board.groups[seat.group].checkpoint
        coming = None if checkpoint in board.devices[device].residents else checkpoint
        if seat.next_checkpoint != coming:
            board.seats[device] = replace(seat, next_checkpoint=coming)
    cold = _find_cold(board)
    if not cold:
        return
    spared = sorted(
        (d for d, seat in board.seats.items() if seat.next_checkpoint is None), key=lambda d: (-board.spare(d), d)
    )
    for checkpoint in cold:
        reader = next((d for d in spared if board.may(d, checkpoint)), None)
        if reader is not None:
            spared.remove(reader)
            board.seats[reader] = replace(board.seats[reader], next_checkpoint=checkpoint)


def _find_cold(board: Board) -> list[int]:
    """The checkpoints that wait longest without a device or a host that has them."""
    waiting = [c for c, rows in board.rows.items() if board.count(c) == 0 and any(row.left for row in rows)]
    if not waiting:
        return []
    cached = frozenset().union(*{device.host: device.cached for device in board.devices.values()}.values())
    cold = [c for c in waiting if c not in cached]
    cold.sort(key=lambda c: (min(row.since for row in board.rows[c]), c))
    return cold[: 1 + len(board.devices) // _DEVICES_A_READ]

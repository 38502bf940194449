"""Seats for those who wait for few images: on what is resident and free soon, else by a load, within a budget."""

import heapq
from dataclasses import dataclass

from farm.dispatch.classes import INTERACTIVE, Row
from farm.dispatch.planned import SeatReason
from farm.dispatch.seating.board import Board
from farm.dispatch.seating.seats import give
from farm.dispatch.snapshot import Device

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
    holders = _Holders(board)
    nearest = _find_nearest(board)
    for row in sorted(rows, key=lambda row: (row.since, row.group.id, row.key[0])):
        while row.left > 0:
            device = _find_device(board, row, holders, nearest)
            if device is None:
                break
            give(board, device, row, SeatReason.INTERACTIVE)


class _Holders:
    """By checkpoint, the devices that hold it or are about to load it, what begins first being first.

    When they begin does not change while interactive work is seated, so that each checkpoint is sorted once.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._held: dict[int, set[int]] = {}
        self._sorted: dict[int, list[tuple[float, int]]] = {}
        groups = board.groups
        for device in board.devices.values():
            for checkpoint in device.residents:
                self._add(checkpoint, device.id)
            for seat in (device.seat, device.serving):
                if seat is not None and seat.group in groups:
                    self._add(groups[seat.group].checkpoint, device.id)

    def _add(self, checkpoint: int, device: int) -> None:
        held = self._held.get(checkpoint)
        if held is None:
            held = self._held[checkpoint] = set()
        held.add(device)

    def first(self, row: Row) -> tuple[float, int] | None:
        """When a device without a seat that may render the row begins first, and which (None: there is none)."""
        seats, may, group = self._board.seats, self._board.feasible.may, row.group.id
        found = self._sort(row.group.checkpoint)
        while found and found[-1][1] in seats:
            found.pop()
        return next((entry for entry in reversed(found) if entry[1] not in seats and may(entry[1], group)), None)

    def _sort(self, checkpoint: int) -> list[tuple[float, int]]:
        """The first is the last of the list, where it is taken off."""
        found = self._sorted.get(checkpoint)
        if found is None:
            board = self._board
            held = self._held.get(checkpoint, ())
            begins = [(board.free_at(d) + board.load_seconds(d, checkpoint), d) for d in held]
            found = self._sorted[checkpoint] = sorted(begins, reverse=True)
        return found


@dataclass(frozen=True, slots=True)
class _Near:
    """A device that is free soon: seconds until then, and what its own checkpoint loses if it leaves."""

    device: Device
    seconds: float
    loss: float


def _find_nearest(board: Board) -> list[_Near]:
    nearest = heapq.nsmallest(_CANDIDATES, board.devices, key=lambda d: (board.free_at(d), d))
    return [_Near(board.devices[d], board.free_at(d) - board.now, _loss(board, d)) for d in nearest]


def _find_device(board: Board, row: Row, holders: _Holders, nearest: list[_Near]) -> int | None:
    checkpoint = row.group.checkpoint
    first = holders.first(row)
    best, wait = None, 1e9
    if first is not None:
        begins, best = first
        wait = begins - board.now
        images = board.batches.images(row.group, board.devices[best])
        if wait <= board.usual_load(checkpoint) + row.seconds * images:
            return best
    if board.load_budget <= 0:
        return best
    cost, other = _find_cheapest(board, row, nearest)
    if other is None or cost >= wait:
        return best
    board.load_budget -= board.load_seconds(other, checkpoint)
    return other


def _find_cheapest(board: Board, row: Row, nearest: list[_Near]) -> tuple[float, int | None]:
    """Which device costs least: seconds until it could begin, and what its own checkpoint loses."""
    cheapest: tuple[float, int | None] = (float("inf"), None)
    for near in nearest:
        device = near.device.id
        if near.seconds + near.loss > cheapest[0] or device in board.seats:
            continue
        if not board.feasible.may(device, row.group.id):
            continue
        cost = near.seconds + board.load_seconds(device, row.group.checkpoint) + near.loss
        if cost < cheapest[0] or (cost == cheapest[0] and device < (cheapest[1] or 0)):
            cheapest = cost, device
    return cheapest


def _loss(board: Board, device: int) -> float:
    found = board.devices[device]
    if board.at[device] is None or len(found.residents) < found.slots:
        return 0.0
    return board.missed(device)

"""The plan: who gets what next, made of everything that is known, by the rules of this package in their order."""

from collections import Counter
from collections.abc import Iterable, Mapping

from farm.dispatch.batches import Batches
from farm.dispatch.bounds import longest_wait, unseated
from farm.dispatch.classes import Row, rank_rows, usual_class
from farm.dispatch.demand import find_demand
from farm.dispatch.feasible import find_feasible
from farm.dispatch.lags import Passed, debt_seconds, equal_shares, next_debts, next_lags
from farm.dispatch.outlook import foresee
from farm.dispatch.planned import Figures, Plan, SeatReason, Share
from farm.dispatch.seating.ahead import read_ahead
from farm.dispatch.seating.board import Board, place_devices
from farm.dispatch.seating.busy import force, move_busy
from farm.dispatch.seating.dry import move_dry
from farm.dispatch.seating.hysteresis import slacks, tolerance, tolerances
from farm.dispatch.seating.interactive import seat_interactive
from farm.dispatch.seating.seats import fill
from farm.dispatch.seating.split import split
from farm.dispatch.shares import Key, effective_weights
from farm.dispatch.snapshot import Account, Carried, Device, Group, Snapshot

_USAGE_SECONDS = 300.0
_BUDGET_SECONDS = 60.0


def plan(snapshot: Snapshot, now: float) -> Plan:
    """Seat the devices of a pool.

    1. What may be rendered where (`feasible`), in which order (`classes`), and what it asks for (`demand`). 2.
    How many devices each checkpoint should have (`split`), and how far off it may be (`hysteresis`). 3. Seats
    for interactive work; devices without work go where they are needed; then, for fairness, some with work. 4.
    What each device renders at its checkpoint (`seats`). A device that is not free soon keeps its seat.
    """
    board = _lay_out(snapshot, now)
    demand = board.demand
    load = _usual_load(snapshot, board)
    theta = tolerance(demand.rates.values(), load, len(board.devices), snapshot.policy)
    limits = tolerances(demand.rates, theta, snapshot.policy)
    board.slack = slacks(demand.allowed, limits, snapshot.policy)
    seats = {checkpoint: board.count(checkpoint) for checkpoint in board.rows}
    board.wanted = split(demand, seats, board.owed, snapshot.policy)
    lags = dict(board.owed)
    seat_interactive(board)
    move_dry(board)
    move_busy(board, limits)
    waiting = _find_unseated(board, snapshot.carried)
    force(board, waiting, unseated(snapshot.policy, theta, len(board.rows), len(board.devices)))
    _fill_all(board, snapshot.carried.interactive)
    read_ahead(board)
    return Plan(
        seats=tuple(board.seats[device] for device in sorted(board.seats)),
        outlooks=foresee(board),
        shares=tuple(
            Share(*key, demand.rates.get(key, 0.0), lags[key], demand.asked.get(key, 0.0))
            for key in sorted(lags, key=lambda key: (key[0], key[1] or 0))
        ),
        carried=_carry(board, snapshot, now, waiting),
        figures=_figures(board, snapshot, waiting, load, theta),
    )


def _lay_out(snapshot: Snapshot, now: float) -> Board:
    policy, carried = snapshot.policy, snapshot.carried
    groups = {group.id: group for group in snapshot.groups}
    devices = {device.id: device for device in snapshot.devices if device.is_ready}
    batches = Batches(snapshot.speeds, policy)
    accounts = _find_accounts(snapshot)
    equal = equal_shares(accounts, {(b.owner, b.project) for b in snapshot.backlogs}, len(devices))
    rows = rank_rows(snapshot, groups, batches, _find_deep_debtors(snapshot, equal), now)
    feasible = find_feasible(devices.values(), snapshot.groups)
    demand = find_demand(rows, accounts, feasible, policy, len(devices))
    seconds = max(0.0, now - carried.planned_at) if carried.planned_at is not None else 0.0
    passed = Passed(seconds, demand.is_saturated)
    dues = {key: max(share, demand.rates.get(key, 0.0)) for key, share in equal.items()}
    debts = next_debts(carried.debts, accounts, dues, passed, policy)
    board = Board(
        now=now,
        policy=policy,
        loads=snapshot.loads,
        groups=groups,
        devices=devices,
        feasible=feasible,
        batches=batches,
        demand=demand,
        rows=_by_checkpoint(rows),
        owed=next_lags(accounts, demand.rates, demand.asked, debts, passed, policy),
        weights=effective_weights(list(demand.asked), accounts),
        dues=dues,
        debts=debts,
        stays_until=_still_ahead(carried.stays_until, devices, now),
        usage=_find_usage(devices.values(), groups, carried, seconds),
        load_budget=_refill(carried.load_seconds, policy.interactive_load_rate * len(devices), seconds),
        forced_budget=_refill(carried.forced_seconds, policy.forced_load_rate * len(devices), seconds),
        usual_class=usual_class(devices.values()),
        busy_part=sum(device.serving is not None for device in devices.values()) / max(1, len(devices)),
        largest_batch=max((device.max_batch for device in devices.values()), default=1),
    )
    place_devices(board, carried.interactive)
    return board


def _find_accounts(snapshot: Snapshot) -> dict[Key, Account]:
    accounts = {(account.owner, account.project): account for account in snapshot.accounts}
    for key in [(backlog.owner, backlog.project) for backlog in snapshot.backlogs] + list(snapshot.carried.debts):
        if key not in accounts:
            accounts[key] = Account(*key)
    return accounts


def _find_deep_debtors(snapshot: Snapshot, equal: Mapping[Key, float]) -> set[Key]:
    """The accounts of which nothing is interactive, by the debts that the plan before left."""
    most = snapshot.policy.lag_limit_seconds
    return {key for key, debt in snapshot.carried.debts.items() if debt_seconds(debt, equal[key]) > most}


def _by_checkpoint(rows: list[Row]) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        found.setdefault(row.group.checkpoint, []).append(row)
    return found


def _still_ahead(times: Mapping[int, float], devices: Mapping[int, Device], now: float) -> dict[int, float]:
    return {device: until for device, until in times.items() if until > now and device in devices}


def _find_usage(
    devices: Iterable[Device], groups: Mapping[int, Group], carried: Carried, seconds: float
) -> dict[int, float]:
    keep = 0.5 ** (seconds / _USAGE_SECONDS)
    usage = {c: devices * keep for c, devices in carried.usage.items() if devices > 0.01}
    for device in devices:
        serving = device.serving
        group = groups.get(serving.group) if serving is not None else None
        if group is not None:
            usage[group.checkpoint] = usage.get(group.checkpoint, 0.0) + 1.0 - keep
    return usage


def _refill(left: float | None, rate: float, seconds: float) -> float:
    """What a budget of so many load seconds a second holds now."""
    full = max(rate * _BUDGET_SECONDS, 30.0)
    return full if left is None else min(full, left + rate * seconds)


def _usual_load(snapshot: Snapshot, board: Board) -> float:
    """Expected seconds of a load, over what waits: from the cache as often as hosts have it cached."""
    hosts = {device.host: device.cached for device in board.devices.values()}
    cached = Counter(checkpoint for held in hosts.values() for checkpoint in held)
    total = 0.0
    for checkpoint in board.rows:
        part = cached[checkpoint] / len(hosts) if hosts else 0.0
        total += part * snapshot.loads.seconds(checkpoint, board.usual_class, is_cached=True)
        total += (1 - part) * board.usual_load(checkpoint)
    return total / len(board.rows) if board.rows else 0.0


def _find_unseated(board: Board, carried: Carried) -> dict[int, float]:
    return {
        c: carried.unseated_since.get(c, board.now)
        for c, rows in board.rows.items()
        if board.count(c) == 0 and any(row.left for row in rows)
    }


def _fill_all(board: Board, interactive: Mapping[int, int]) -> None:
    """Fresh seats for devices that are free soon or change their checkpoint; the others keep theirs."""
    soon = set(board.soon)
    live = {row.group.id for rows in board.rows.values() for row in rows}
    waiting: dict[int, list[int]] = {}
    for device in board.soon:
        at = board.at[device]
        if device not in board.seats and at is not None and at in board.rows:
            waiting.setdefault(at, []).append(device)
    for mover in sorted(set(board.moved) - soon - set(board.seats), key=lambda d: (board.free_at(d), d)):
        waiting.setdefault(board.moved[mover], []).append(mover)
    for checkpoint in sorted(waiting):
        fill(board, checkpoint, waiting[checkpoint])
    for number, found in board.devices.items():
        seat = found.seat
        if number in soon or number in board.seats or seat is None or seat.group == interactive.get(number):
            continue
        if seat.group in live:
            board.seats[number] = seat


def _carry(board: Board, snapshot: Snapshot, now: float, waiting: Mapping[int, float]) -> Carried:
    policy = snapshot.policy
    oldest = now - 2 * policy.rise_seconds
    served_at = {key: at for key, at in snapshot.carried.served_at.items() if at > oldest}
    groups = board.groups
    for device in board.devices.values():
        serving = device.serving
        group = groups.get(serving.group) if serving is not None else None
        if serving is not None and group is not None:
            served_at[group.checkpoint, serving.owner, serving.project] = now
    return Carried(
        planned_at=now,
        stays_until=board.stays_until,
        unseated_since={c: since for c, since in waiting.items() if board.count(c) == 0},
        served_at=served_at,
        usage=board.usage,
        interactive={d: seat.group for d, seat in board.seats.items() if seat.reason == SeatReason.INTERACTIVE},
        load_seconds=board.load_budget,
        forced_seconds=board.forced_budget,
        debts=board.debts,
    )


def _figures(board: Board, snapshot: Snapshot, waiting: Mapping[int, float], load: float, theta: float) -> Figures:
    idle = sum(1 for d, device in board.devices.items() if device.free_at <= board.now and d not in board.seats)
    oldest = min([backlog.oldest_at for backlog in snapshot.backlogs], default=board.now)
    return Figures(
        devices=len(board.devices),
        seated=len(board.seats),
        idle=idle,
        demand=board.demand.total,
        is_saturated=board.demand.is_saturated,
        moves=len(board.moved),
        queued=sum([backlog.images for backlog in snapshot.backlogs]),
        unseated=sum(1 for c in waiting if board.count(c) == 0),
        oldest_seconds=board.now - oldest,
        load_seconds=load,
        tolerated_lag=theta,
        wait_bound=_find_bound(board, load),
    )


def _find_bound(board: Board, load: float) -> float:
    return longest_wait(
        board.policy,
        checkpoints=len(board.rows),
        devices=len(board.devices),
        accounts=max([len(by_key) for by_key in board.demand.allowed.values()], default=0),
        load_seconds=load,
        batch_seconds=max([rows[0].seconds for rows in board.rows.values()], default=0.0) * board.largest_batch,
    )

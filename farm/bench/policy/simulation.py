"""The simulation: a heap of events, claims that follow seats, and the real planner each second."""

import gc
import heapq
import time
from collections.abc import Callable, Iterator
from itertools import count
from random import Random
from typing import Any

from farm.bench.policy.checks import Checks
from farm.bench.policy.machines import Machine, build
from farm.bench.policy.measures import loads_of, speeds_of
from farm.bench.policy.queues import Job, Part, Queues
from farm.bench.policy.scenario import DRAIN_SECONDS, IMAGE_SECONDS, Scenario, Submitted
from farm.bench.policy.tally import Tally
from farm.dispatch.plan import plan
from farm.dispatch.planned import Plan
from farm.dispatch.snapshot import Account, Carried, Snapshot

LEASE_SECONDS = 20.0
_TIMED_EVERY = 20
_TRIES = 5
"""One plan in so many is made again so often to time it: the least of the CPU times says what it costs."""


class Simulation:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.random = Random(seed)
        self.now = 0.0
        self.end = scenario.hours * 3600.0
        self.tally = Tally(scenario.policy, scenario.warm_seconds)
        self.machines = build(scenario)
        self.queues = Queues({account.owner: account.project for account in scenario.accounts})
        self.checks = Checks(scenario)
        self.groups = {group.id: group for group in scenario.groups}
        self.lags = {account.owner: account.lag for account in scenario.accounts}
        self.flight = dict.fromkeys(self.lags, 0.0)
        self.carried = Carried()
        self.jobs: list[Job] = []
        self.unfinished = 0
        self.plans = 0
        self.idle: set[int] = set(self.machines)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._serial = count()
        error = scenario.estimate_error
        self._factor = {g: 1 + self.random.uniform(-error, error) for g in self.groups}
        self._speeds, self._loads = speeds_of(scenario), loads_of(scenario)

    def run(self) -> Tally:
        """Run to the end, without the garbage collector: its pauses grow with the simulation, not with the plan."""
        gc.disable()
        try:
            return self._run()
        finally:
            gc.enable()

    def _run(self) -> Tally:
        arrivals = self.scenario.arrivals(self.random, self.scenario)
        self._at(0.0, self._arrive, arrivals, next(arrivals))
        self._at(0.0, self._plan)
        dying = self.random.sample(sorted(self.machines), round(self.scenario.dying * len(self.machines)))
        span = DRAIN_SECONDS if self.scenario.is_drain else self.end
        for number in dying:
            self._at(self.random.uniform(0.1, 0.9) * span, self._die, self.machines[number])
        while self._events and self._events[0][0] <= self.end:
            self.now, _, act, arguments = heapq.heappop(self._events)
            act(*arguments)
            if self.scenario.is_drain and self.jobs and not self.unfinished:
                break
        if not self.scenario.is_drain:
            self.now = self.end
        self._finish()
        return self.tally

    def _at(self, at: float, act: Callable[..., None], *arguments: object) -> None:
        heapq.heappush(self._events, (at, next(self._serial), act, arguments))

    def _arrive(self, arrivals: Iterator[Submitted], submitted: Submitted | None) -> None:
        """Queue every job that is due, and wake the idle devices that hold its checkpoint."""
        while submitted is not None and submitted.at <= self.now:
            job = Job(submitted, submitted.images)
            self.jobs.append(job)
            self.unfinished += 1
            self.queues.put(job)
            self.checks.is_ready(submitted.group, submitted.owner, self.now)
            self._wake(self.groups[submitted.group].checkpoint)
            submitted = next(arrivals, None)
        if submitted is not None:
            self._at(submitted.at, self._arrive, arrivals, submitted)

    def _wake(self, checkpoint: int) -> None:
        for number in sorted(self.idle):
            if checkpoint in self.machines[number].residents:
                self._claim(self.machines[number])

    def _plan(self) -> None:
        alive = [machine for machine in self.machines.values() if machine.is_alive]
        running = dict.fromkeys(self.lags, 0.0)
        for machine in alive:
            for owner, part in _owners(machine).items():
                running[owner] += part
        snapshot = Snapshot(
            pool="bench",
            groups=self.scenario.groups,
            backlogs=tuple(self.queues.read()),
            devices=tuple(machine.read() for machine in alive),
            accounts=tuple(
                Account(a.owner, a.project, a.weight, a.project_weight, self.lags[a.owner], running[a.owner])
                for a in self.scenario.accounts
            ),
            speeds=self._speeds,
            loads=self._loads,
            policy=self.scenario.policy,
            carried=self.carried,
        )
        made = plan(snapshot, self.now)
        self.plans += 1
        if self.plans % _TIMED_EVERY == 0:
            self.tally.plan_seconds.append(min(_time_plan(snapshot, self.now) for _ in range(_TRIES)))
        self._follow(made, snapshot, alive)
        self._at(self.now + self.scenario.policy.period_seconds, self._plan)

    def _follow(self, made: Plan, snapshot: Snapshot, alive: list[Machine]) -> None:
        self.checks.plan(made, snapshot, self.now)
        self.carried = made.carried
        self.tally.moves += made.figures.moves
        for share in made.shares:
            self.lags[share.owner] = share.lag
        rates = {share.owner: share.rate for share in made.shares}
        bound = {share.owner for share in made.shares if share.asked > share.rate + 1e-6}
        self.tally.add_plan(self.now, rates, bound, made.figures)
        if self.now >= self.tally.warm:
            self.tally.device_seconds += len(alive) * self.scenario.policy.period_seconds
        seats = {seat.device: seat for seat in made.seats}
        for machine in alive:
            seat = seats.get(machine.id)
            if seat is not machine.seat:
                machine.seat, machine.seen = seat, None
            if seat is not None and seat.next_checkpoint is not None:
                machine.host.read(seat.next_checkpoint, self.now)
        for number in sorted(self.idle):
            self._claim(self.machines[number])

    def _claim(self, machine: Machine) -> None:
        """What the claim does while plans are made: by seat, else by itself, but only what is resident."""
        parts: list[Part] = []
        seat, group = machine.seat, 0
        if seat is not None:
            group = seat.group
            parts = self.queues.take(group, seat.owner, seat.images)
        if not parts:
            group = self._choose(machine)
            parts = self.queues.take(group, None, 8) if group else []
        if not parts:
            self.idle.add(machine.id)
            return
        self.idle.discard(machine.id)
        self._begin(machine, group, parts)

    def _choose(self, machine: Machine) -> int:
        """A group of what a device holds, for one whose seat does not help: 0 if there is none."""
        for checkpoint in machine.residents:
            if self.queues.lines.get(checkpoint):
                return checkpoint
        return 0

    def _begin(self, machine: Machine, group: int, parts: list[Part]) -> None:
        load = machine.load(self.groups[group].checkpoint, self.now)
        images = sum(n for _, n in parts)
        render = images * IMAGE_SECONDS
        machine.parts, machine.group, machine.began_at, machine.load_seconds = parts, group, self.now, load
        machine.charged = load + render
        machine.free_at = self.now + load + render
        machine.ends_at = self.now + load + render * self._factor[group]
        machine.seen = None
        machine.serial += 1
        for job, n in parts:
            submitted = job.submitted
            self.lags[submitted.owner] -= machine.charged * n / images
            if self.now >= self.tally.warm and submitted.owner not in self.scenario.left_out:
                self.tally.add_wait(submitted.class_, self.now + load - submitted.at, n)
        if self.now >= self.tally.warm:
            self.tally.claims += 1
            self.tally.images += images
            self.tally.loads += load > 0
        self.checks.is_served(group, {job.submitted.owner for job, _ in parts}, self.queues, self.now)
        self._at(machine.ends_at, self._end, machine, machine.serial)

    def _end(self, machine: Machine, serial: int) -> None:
        if not machine.is_alive or serial != machine.serial:
            return
        images = sum(n for _, n in machine.parts)
        spent = self.now - machine.began_at
        for job, n in machine.parts:
            job.running -= n
            job.done += n
            self.lags[job.submitted.owner] -= (spent - machine.charged) * n / images
            if job.done == job.submitted.images:
                job.ended_at = self.now
                self.unfinished -= 1
        self._count(machine, self.now, _owners(machine))
        machine.parts, machine.seen = [], None
        self._claim(machine)

    def _count(self, machine: Machine, now: float, owners: dict[int, float]) -> None:
        loaded = min(now, machine.began_at + machine.load_seconds)
        self.tally.add_batch(machine.began_at, loaded, now, owners)

    def _die(self, machine: Machine) -> None:
        """It never comes back; what it held is queued again when its lease has ended."""
        machine.is_alive = False
        self.idle.discard(machine.id)
        if machine.parts:
            self._at(self.now + LEASE_SECONDS, self._requeue, machine.parts)
            machine.parts = []

    def _requeue(self, parts: list[Part]) -> None:
        for job, n in parts:
            job.running -= n
            job.queued += n
            self.queues.put(job, is_again=True)
            self.checks.is_ready(job.submitted.group, job.submitted.owner, self.now)

    def _finish(self) -> None:
        """Count what is under way, and check that nothing was lost."""
        for machine in self.machines.values():
            if machine.is_alive and machine.parts:
                self._count(machine, self.now, _owners(machine))
        for job in self.jobs:
            if job.submitted.deadline_at is not None and job.submitted.deadline_at <= self.now:
                self.tally.dated += 1
                self.tally.late += job.ended_at is None or job.ended_at > job.submitted.deadline_at
        self.checks.end(self.jobs, self.now)


def _owners(machine: Machine) -> dict[int, float]:
    """The owners of what a device renders, each with their part of it."""
    images = sum(n for _, n in machine.parts)
    owners: dict[int, float] = {}
    for job, n in machine.parts:
        owners[job.submitted.owner] = owners.get(job.submitted.owner, 0.0) + n / images
    return owners


def _time_plan(snapshot: Snapshot, now: float) -> float:
    """The CPU seconds of one plan: the planner is one thread, and other programs take no part of its time."""
    began = time.thread_time()
    plan(snapshot, now)
    return time.thread_time() - began

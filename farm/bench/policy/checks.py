"""What must hold in every simulation: nothing lost, no impossible seat, no wait beyond the bound."""

from collections.abc import Iterable

from farm.bench.policy.queues import Job, Queues
from farm.bench.policy.scenario import BATCH, IMAGE_SECONDS, LOAD_SECONDS, Scenario
from farm.dispatch.bounds import longest_wait
from farm.dispatch.feasible import suits
from farm.dispatch.planned import Plan
from farm.dispatch.snapshot import Device, Snapshot


class Checks:
    """Collects what broke, at most a few of a kind."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.broken: list[str] = []
        self.bound = 0.0
        self.longest = 0.0
        self._groups = {group.id: group for group in scenario.groups}
        self._suited: dict[tuple[str, int], bool] = {}
        self._waiting: dict[tuple[int, int], float] = {}

    def suits(self, device: Device, group: int) -> bool:
        key = device.class_, group
        if key not in self._suited:
            self._suited[key] = suits(device, self._groups[group])
        return self._suited[key]

    def is_ready(self, group: int, owner: int, now: float) -> None:
        self._waiting.setdefault((group, owner), now)

    def is_served(self, group: int, owners: Iterable[int], queues: Queues, now: float) -> None:
        waiting = {line.key[0] for line in queues.lines.get(group, {}).values()}
        for owner in owners:
            self._note(now - self._waiting.pop((group, owner), now), group, owner)
            if owner in waiting:
                self._waiting[group, owner] = now

    def plan(self, made: Plan, snapshot: Snapshot, now: float) -> None:
        devices = {device.id: device for device in snapshot.devices}
        for seat in made.seats:
            if not self.suits(devices[seat.device], seat.group):
                self._break(f"device {seat.device} was seated on group {seat.group}, which does not fit it")
            if not 0 < seat.images <= BATCH:
                self._break(f"device {seat.device} was to take {seat.images} images")
        if len({seat.device for seat in made.seats}) < len(made.seats):
            self._break("a device has two seats")
        self._state_bound(snapshot)

    def _state_bound(self, snapshot: Snapshot) -> None:
        by_group: dict[int, set[int]] = {}
        for backlog in snapshot.backlogs:
            by_group.setdefault(backlog.group, set()).add(backlog.owner)
        bound = longest_wait(
            snapshot.policy,
            checkpoints=len(by_group),
            devices=min((made.count for made in self.scenario.made), default=1),
            accounts=max(map(len, by_group.values()), default=1),
            load_seconds=LOAD_SECONDS,
            batch_seconds=BATCH * IMAGE_SECONDS * (1 + self.scenario.estimate_error),
        )
        self.bound = max(self.bound, bound)

    def end(self, jobs: Iterable[Job], now: float) -> None:
        for job in jobs:
            if job.queued + job.running + job.done != job.submitted.images or min(job.queued, job.running) < 0:
                self._break(f"a job of {job.submitted.images} images has {job.queued}, {job.running}, {job.done}")
        for (group, owner), since in self._waiting.items():
            self._note(now - since, group, owner)

    def _note(self, seconds: float, group: int, owner: int) -> None:
        self.longest = max(self.longest, seconds)
        if seconds > self.bound > 0:
            self._break(f"owner {owner} waited {seconds:.0f} s for group {group}; the bound is {self.bound:.0f} s")

    def _break(self, what: str) -> None:
        if len(self.broken) < 20:
            self.broken.append(what)

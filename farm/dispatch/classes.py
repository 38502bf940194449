"""In which order what waits is served: interactive, urgent deadlines, bulk by priority; what waits long rises.

An account's interactive images beyond `interactive_seconds`, queued and in flight, count as bulk: who submits ten
thousand small jobs has half a minute of a device ahead of the others, not the farm; and who used far more than was
due has nothing ahead of them. What an account has waiting for a checkpoint and was not served for `rise_seconds`
goes before every priority, with the urgent deadlines.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from farm.dispatch.batches import Batches
from farm.dispatch.policy import Policy
from farm.dispatch.shares import Key
from farm.dispatch.snapshot import Backlog, Device, Group, Snapshot, WorkClass

INTERACTIVE, URGENT, BULK = 0, 1, 2
Level = tuple[int, int]
"""A rank and, within it, the priority negated: lower goes first."""


@dataclass(slots=True)
class Row:
    """Images of one group and account that are served alike. `left` is changed while a plan seats devices."""

    group: Group
    key: Key
    level: Level
    priority: int
    left: int
    seconds: float
    """Device seconds an image."""
    since: float
    """Since when they wait: since they became ready, or since their account was last served there."""
    class_: WorkClass
    devices_left: int | None = None
    """How many more devices may take them (None: any number)."""
    must_have: float = 0.0
    """How many devices are needed to end before the deadline."""

    @property
    def work(self) -> float:
        return self.left * self.seconds


def rank_rows(
    snapshot: Snapshot, groups: Mapping[int, Group], batches: Batches, debtors: Collection[Key], now: float
) -> list[Row]:
    """Every backlog as one row or two, in no particular order. Of `debtors` nothing is interactive."""
    policy = snapshot.policy
    usual = usual_class(snapshot.devices)
    quotas = _Quotas(snapshot, groups, batches, debtors)
    running = _running_devices(snapshot.devices)
    devices = sum(device.is_ready for device in snapshot.devices)
    served_at = snapshot.carried.served_at
    dated = sum([b.deadline_at is not None for b in snapshot.backlogs])
    most = max(1.0, policy.deadline_part * devices / max(1, dated))
    rows = []
    rise_seconds = policy.rise_seconds
    seconds_by_group: dict[int, float] = {}
    for backlog in _oldest_first(snapshot.backlogs):
        group = groups.get(backlog.group)
        if group is None or backlog.images <= 0:
            continue
        key = backlog.owner, backlog.project
        seconds = seconds_by_group.get(group.id)
        if seconds is None:
            seconds = seconds_by_group[group.id] = batches.seconds_an_image(group, usual)
        served = served_at.get((group.checkpoint, backlog.owner, backlog.project), 0.0)
        since = served if served > backlog.oldest_at else backlog.oldest_at
        level, priority = (BULK, -backlog.priority), backlog.priority
        row = Row(group, key, level, priority, backlog.images, seconds, since, backlog.class_)
        if backlog.max_devices is not None:
            row.devices_left = max(0, backlog.max_devices - running.get((group.id, key), 0))
        if backlog.deadline_at is not None:
            load = snapshot.loads.seconds(group.checkpoint, usual, is_cached=False)
            row.must_have = devices_needed(row.work, backlog.deadline_at - now - load, most, policy)
        if row.must_have > 0 or now - since > rise_seconds:
            row.level = (URGENT, 0)
        elif backlog.class_ is WorkClass.INTERACTIVE:
            first = quotas.take(row)
            if first > 0:
                rows.append(_first_images(row, first))
                row.left -= first
        if row.left:
            rows.append(row)
    return rows


def devices_needed(work: float, seconds: float, most: float, policy: Policy) -> float:
    """How many devices must take `work` now to end it within `seconds`: 0 while `most` of them later would do.

    It is `most` once the deadline has passed.
    """
    if seconds - work / most > policy.deadline_margin_seconds:
        return 0.0
    return most if seconds <= 0 else min(most, max(work / seconds, 0.51))


def usual_class(devices: Iterable[Device]) -> str:
    """The class that most devices are of: what seconds of work are counted in."""
    counts = Counter([device.class_ for device in devices])
    return max(counts, key=lambda class_: (counts[class_], class_), default="")


def _first_images(row: Row, images: int) -> Row:
    """Interactive work has no priorities among itself: it is served in the order in which it came."""
    level = INTERACTIVE, 0
    return Row(
        row.group, row.key, level, row.priority, images, row.seconds, row.since, row.class_, row.devices_left
    )


def _oldest_first(backlogs: tuple[Backlog, ...]) -> Iterable[Backlog]:
    """Interactive ones in the order in which they came; the order of the others does not matter."""
    interactive = [b for b in backlogs if b.class_ is WorkClass.INTERACTIVE]
    interactive.sort(key=lambda b: (-b.priority, b.oldest_at, b.group, b.owner))
    return chain(interactive, [b for b in backlogs if b.class_ is not WorkClass.INTERACTIVE])


class _Quotas:
    """The device seconds of interactive work that may still go first, by account: what is in flight counts."""

    def __init__(
        self, snapshot: Snapshot, groups: Mapping[int, Group], batches: Batches, debtors: Collection[Key]
    ) -> None:
        self._policy = snapshot.policy
        self._left = dict.fromkeys(debtors, 0.0)
        for device in snapshot.devices:
            serving = device.serving
            if serving is not None and serving.class_ is WorkClass.INTERACTIVE:
                group = groups.get(serving.group)
                seconds = batches.seconds_an_image(group, device.class_) if group is not None else 0.0
                self._use((serving.owner, serving.project), serving.images, seconds)

    def take(self, row: Row) -> int:
        """How many images of a row go first: at least one, while anything of the quota is left."""
        left = self._left.get(row.key, self._policy.interactive_seconds)
        if left <= 0:
            return 0
        images = min(row.left, max(1, int(left / self._counted(row.seconds))))
        self._use(row.key, images, row.seconds)
        return images

    def _use(self, key: Key, images: int, seconds: float) -> None:
        left = self._left.get(key, self._policy.interactive_seconds)
        self._left[key] = left - images * self._counted(seconds)

    def _counted(self, seconds: float) -> float:
        return max(seconds, self._policy.interactive_least_seconds)


def _running_devices(devices: Iterable[Device]) -> dict[tuple[int, Key], int]:
    running: dict[tuple[int, Key], int] = {}
    for device in devices:
        if device.serving is not None:
            key = device.serving.group, (device.serving.owner, device.serving.project)
            running[key] = running.get(key, 0) + 1
    return running

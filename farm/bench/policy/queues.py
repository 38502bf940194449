"""What is queued in a simulated farm, by group and line, and what a claim takes of it."""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from farm.bench.policy.scenario import Submitted
from farm.dispatch.snapshot import Backlog, WorkClass

Key = tuple[int, int | None]
_RANKS = {WorkClass.INTERACTIVE: 0, WorkClass.DEADLINE: 1, WorkClass.BULK: 2}


@dataclass(slots=True, eq=False)
class Job:
    """A job on its way. `queued` + `running` + `done` is always what was submitted."""

    submitted: Submitted
    queued: int
    running: int = 0
    done: int = 0
    ended_at: float | None = None


Part = tuple[Job, int]
"""So many images of a job, claimed together."""


@dataclass(slots=True, eq=False)
class Line:
    """The jobs of one owner, class, priority and limit within a group, oldest first."""

    group: int
    key: Key
    class_: WorkClass
    priority: int
    max_devices: int | None
    jobs: deque[Job] = field(default_factory=deque)
    images: int = 0
    backlog: Backlog | None = None

    @property
    def order(self) -> tuple[int, int, float]:
        return _RANKS[self.class_], -self.priority, self.jobs[0].submitted.at

    def read(self) -> Backlog:
        """The line as the planner sees it; made again only after it changed."""
        if self.backlog is None:
            deadlines = [at for job in self.jobs if (at := job.submitted.deadline_at) is not None]
            self.backlog = Backlog(
                self.group,
                *self.key,
                self.class_,
                self.priority,
                self.images,
                self.jobs[0].submitted.at,
                min(deadlines, default=None),
                self.max_devices,
            )
        return self.backlog


@dataclass(slots=True)
class Queues:
    """Lines by group. Every change goes through `put` and `take`."""

    projects: Mapping[int, int | None] = field(default_factory=dict)
    """Each owner works in one project, or in none."""
    lines: dict[int, dict[tuple[object, ...], Line]] = field(default_factory=dict)

    def put(self, job: Job, *, is_again: bool = False) -> None:
        """Queue `job.queued` images of a job, last; first, if they had been claimed before."""
        s = job.submitted
        dated = None if s.deadline_at is None else int(s.deadline_at // 60)
        name = (s.owner, s.class_, s.priority, s.max_devices, dated)
        lines = self.lines.setdefault(s.group, {})
        line = lines.get(name)
        if line is None:
            line = lines[name] = Line(
                s.group, (s.owner, self.projects.get(s.owner)), s.class_, s.priority, s.max_devices
            )
        if job not in line.jobs:
            line.jobs.appendleft(job) if is_again else line.jobs.append(job)
        line.images = sum(j.queued for j in line.jobs)
        line.backlog = None

    def take(self, group: int, owner: int | None, limit: int) -> list[Part]:
        """Claim up to `limit` images of a group: the owner's first, then by class, priority and age."""
        lines = self.lines.get(group)
        if not lines:
            return []
        parts: list[Part] = []
        for name, line in sorted(lines.items(), key=lambda item: (item[1].key[0] != owner, *item[1].order)):
            if limit <= 0:
                break
            limit -= self._take(line, limit, parts)
            if not line.images:
                del lines[name]
        return parts

    def _take(self, line: Line, limit: int, parts: list[Part]) -> int:
        taken = 0
        while line.jobs and taken < limit:
            job = line.jobs[0]
            images = min(job.queued, limit - taken)
            job.queued -= images
            job.running += images
            parts.append((job, images))
            taken += images
            if not job.queued:
                line.jobs.popleft()
        line.images -= taken
        line.backlog = None
        return taken

    def read(self) -> Iterator[Backlog]:
        for lines in self.lines.values():
            for line in lines.values():
                yield line.read()

"""How long the farm takes to go on after a loss: from the moment of the fault to the start of the next attempt.

Both moments are on the database's clock: it is asked for the time just before the fault.
"""

import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import redis

from farm.client import Client
from farm.intake.request import parse_request
from tests.chaos.programs import kill
from tests.chaos.stage import CHECKPOINTS, Host, Stage, raised, undisturbed

_RENDER_SECONDS = 4.0
_STEPS = 20
_LEASE_SECONDS = 5.0

_NOW = "SELECT extract(epoch FROM clock_timestamp())"
_STARTED = "SELECT extract(epoch FROM min(started_at)) FROM attempts WHERE task_id = :task AND number = :number"


@dataclass(frozen=True)
class Recovery:
    """How long it took each time, and what was promised of the median; None where nothing was."""

    name: str
    seconds: tuple[float, ...]
    bound_seconds: float | None = None

    @property
    def median_seconds(self) -> float:
        return statistics.median(self.seconds)

    @property
    def is_kept(self) -> bool:
        return self.bound_seconds is None or self.median_seconds <= self.bound_seconds


def measure(rounds: int) -> list[Recovery]:
    """All of it; each kind on a farm of its own."""
    with _farm(hosts=2) as stage:
        beside = _repeat(rounds, lambda n: _lose(stage, n, _kill_child))
        flushed = _repeat(rounds, lambda _: _submit_after_flush(stage))
        gone = _repeat(rounds, lambda n: _lose(stage, n, _kill_host))
    with _farm(hosts=1) as stage:
        alone = _repeat(min(rounds, 5), lambda n: _lose(stage, n, _kill_child))
    return [
        Recovery("child killed, another worker idles", beside, 2.0),
        Recovery("child killed, no other worker", alone),
        Recovery(f"host lost, lease {_LEASE_SECONDS:g} s", gone, _LEASE_SECONDS + 2.0),
        Recovery("job submitted right after FLUSHALL", flushed, 3.0),
    ]


@contextmanager
def _farm(hosts: int) -> Iterator[Stage]:
    plan = undisturbed(hosts=hosts)
    with raised(replace(plan, lease_seconds=_LEASE_SECONDS, step_seconds=_RENDER_SECONDS / _STEPS)) as stage:
        yield stage


def _repeat(rounds: int, once: Callable[[int], float]) -> tuple[float, ...]:
    return tuple(once(number) for number in range(rounds))


def _lose(stage: Stage, number: int, strike: Callable[[Host], None]) -> float:
    """Seconds from the loss of the worker that renders an image to the next attempt at it.

    Each time with another checkpoint: a worker that keeps dying over one is kept from it.
    """
    with Client(stage.url) as client:
        job_id = _submit(client, CHECKPOINTS[number % len(CHECKPOINTS)])
        task_id = stage.scalar("SELECT id FROM tasks WHERE job_id = :job", job=job_id)
        stage.wait_for(lambda: _started(stage, task_id, 1), "the render did not begin")
        host = _host_of(stage, task_id)
        struck_at = float(stage.scalar(_NOW))
        strike(host)
        stage.wait_for(lambda: _started(stage, task_id, 2), "there was no second attempt")
        stage.wait_for(lambda: client.job(job_id).is_final, "the job did not end")
    stage.wait_until_ready()
    return _started(stage, task_id, 2) - struck_at


def _submit_after_flush(stage: Stage) -> float:
    with Client(stage.url) as client, redis.Redis.from_url(stage.redis.url) as server:
        server.flushall()
        flushed_at = float(stage.scalar(_NOW))
        job_id = _submit(client, CHECKPOINTS[0])
        task_id = stage.scalar("SELECT id FROM tasks WHERE job_id = :job", job=job_id)
        stage.wait_for(lambda: client.job(job_id).is_final, "the job did not end")
    return _started(stage, task_id, 1) - flushed_at


def _submit(client: Client, checkpoint: str) -> int:
    fields = {"width": 64, "height": 64, "num_inference_steps": _STEPS, "seed": 1}
    return client.submit(parse_request({"prompts": ["a lighthouse"], "checkpoint": checkpoint, **fields}))[0].id


def _started(stage: Stage, task_id: int, number: int) -> float:
    """When an attempt began, on the database's clock; 0 if it has not."""
    return float(stage.scalar(_STARTED, task=task_id, number=number) or 0)


def _host_of(stage: Stage, task_id: int) -> Host:
    query = "SELECT w.host FROM tasks t JOIN workers w ON w.id = t.worker_id WHERE t.id = :task"
    name = stage.scalar(query, task=task_id)
    return next(host for host in stage.hosts if host.program.name == name)


def _kill_child(host: Host) -> None:
    kill(host.program.offspring())


def _kill_host(host: Host) -> None:
    kill(host.program.tree())

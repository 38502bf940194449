"""What goes wrong on purpose: each fault breaks something now, and may have something to mend after a while."""

import random
import resource
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import psutil
import redis

from tests.chaos.objects import Trouble
from tests.chaos.programs import kill, send
from tests.chaos.proxy import Line
from tests.chaos.stage import Host, Stage

_SMALLEST_DISK_BYTES = 4096
_SERVERS = ("Redis", "Postgres", "storage")


@dataclass(frozen=True)
class Mend:
    """What ends a fault, and after how long."""

    seconds: float
    action: Callable[[], object]


Fault = Callable[[Stage, random.Random], Mend | None]


def kill_portal(stage: Stage, dice: random.Random) -> None:
    kill(dice.choice([stage.portal.tree(), stage.portal.offspring()]))


def kill_keeper(stage: Stage, dice: random.Random) -> None:
    kill(dice.choice(stage.keepers).tree())


def kill_parent(stage: Stage, dice: random.Random) -> None:
    kill(_host(stage, dice).program.main())


def kill_child(stage: Stage, dice: random.Random) -> None:
    kill(_host(stage, dice).program.offspring())


def kill_host(stage: Stage, dice: random.Random) -> None:
    kill(_host(stage, dice).program.tree())


def replace_host(stage: Stage, dice: random.Random) -> None:
    """Another machine comes in its place, whose cache is empty: its next renders read the store."""
    host = _host(stage, dice)
    dead = host.program.tree()
    kill(dead)
    psutil.wait_procs(dead, timeout=5)
    shutil.rmtree(host.cache, ignore_errors=True)


def stop_child_past_lease(stage: Stage, dice: random.Random) -> Mend:
    """It wakes up as a zombie: it holds an image whose task is somebody else's by now."""
    awake = [host for host in stage.hosts if not _is_stopped(host)]
    stopped = dice.choice(awake or stage.hosts).program.offspring()
    send(stopped, signal.SIGSTOP)
    seconds = stage.plan.lease_seconds + dice.uniform(1, 3)
    return Mend(seconds, partial(send, stopped, signal.SIGCONT))


def _is_stopped(host: Host) -> bool:
    with suppress(psutil.NoSuchProcess):
        return any(process.status() == psutil.STATUS_STOPPED for process in host.program.offspring())
    return False


def flush_redis(stage: Stage, _: random.Random) -> None:
    client = redis.Redis.from_url(stage.redis.url, socket_timeout=2)
    try:
        client.flushall()
    except redis.RedisError:
        # It is frozen or dead already, which is worse than empty.
        return
    finally:
        client.close()


def kill_redis(stage: Stage, dice: random.Random) -> Mend:
    assert stage.redis.process is not None
    stage.redis.process.kill()
    stage.redis.process.wait()
    return Mend(dice.uniform(0.2, 3), stage.redis.start)


def freeze_redis(stage: Stage, dice: random.Random) -> Mend:
    assert stage.redis.process is not None
    frozen = [psutil.Process(stage.redis.process.pid)]
    send(frozen, signal.SIGSTOP)
    return Mend(dice.uniform(2, 6), partial(send, frozen, signal.SIGCONT))


def restart_postgres(stage: Stage, dice: random.Random) -> Mend:
    """As `pg_ctl stop -m immediate`: no checkpoint, no good-bye; it recovers from its log."""
    assert stage.postgres.process is not None
    stage.postgres.process.send_signal(signal.SIGQUIT)
    stage.postgres.process.wait()
    return Mend(dice.uniform(0.1, 2), stage.postgres.start)


def trouble(kind: Trouble, stage: Stage, dice: random.Random) -> Mend:
    stage.objects.trouble = kind
    return Mend(dice.uniform(2, 8), partial(_end_trouble, stage))


def _end_trouble(stage: Stage) -> None:
    stage.objects.trouble = Trouble.NONE


def black_hole_postgres(stage: Stage, dice: random.Random) -> Mend:
    return _black_hole(_host(stage, dice).postgres, stage, dice)


def black_hole_redis(stage: Stage, dice: random.Random) -> Mend:
    return _black_hole(_host(stage, dice).redis, stage, dice)


def _black_hole(line: Line, stage: Stage, dice: random.Random) -> Mend:
    line.black_hole()
    return Mend(dice.uniform(0.5, 2) * stage.plan.lease_seconds, line.heal)


def cut_lines(stage: Stage, dice: random.Random) -> None:
    host = _host(stage, dice)
    host.postgres.cut()
    host.redis.cut()


def fill_disk(stage: Stage, dice: random.Random) -> Mend:
    """The kernel refuses a worker's files beyond 4 KiB, after it has let it write that much.

    It wants neither root nor a mount, and unlike a folder's permissions it stops root too.
    """
    children = _host(stage, dice).program.offspring()
    _limit_files(children, _SMALLEST_DISK_BYTES)
    return Mend(dice.uniform(2, 8), partial(_limit_files, children, resource.RLIM_INFINITY))


def _limit_files(processes: list[psutil.Process], size_bytes: int) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


def _host(stage: Stage, dice: random.Random) -> Host:
    return dice.choice(stage.hosts)


FAULTS: Mapping[str, Fault] = {
    "kill -9 of the portal": kill_portal,
    "kill -9 of a keeper": kill_keeper,
    "kill -9 of a worker's parent": kill_parent,
    "kill -9 of a worker's child": kill_child,
    "loss of a host (parent and child)": kill_host,
    "loss of a host with its cache": replace_host,
    "child stopped past its lease, then continued": stop_child_past_lease,
    "Redis flushed": flush_redis,
    "Redis killed": kill_redis,
    "Redis frozen": freeze_redis,
    "Postgres restarted at once": restart_postgres,
    "storage answers 500": partial(trouble, Trouble.ERROR),
    "storage hangs": partial(trouble, Trouble.HANG),
    "storage cuts mid-body": partial(trouble, Trouble.CUT),
    "storage stores and does not say so": partial(trouble, Trouble.MUTE),
    "black hole to Postgres, one host": black_hole_postgres,
    "black hole to Redis, one host": black_hole_redis,
    "connections reset, one host": cut_lines,
    "disk full, one host": fill_disk,
}


@dataclass
class Demon:
    """Breaks things at seeded moments, every kind as often as any other, and mends them in time.

    A server that is broken already is not broken in another way on top: that fault waits for its turn.
    """

    stage: Stage
    dice: random.Random
    faults: Mapping[str, Fault] = field(default_factory=lambda: FAULTS)
    pause_seconds: tuple[float, float] = (0.5, 2.5)
    counts: Counter[str] = field(default_factory=Counter)
    _bag: list[str] = field(default_factory=list)
    _mends: list[tuple[float, str, Mend]] = field(default_factory=list)
    _next_at: float = 0.0

    def act(self) -> None:
        """Mend what is due; break something if it is time to."""
        now = time.monotonic()
        for due in [entry for entry in self._mends if entry[0] <= now]:
            self._mends.remove(due)
            due[2].action()
        if now >= self._next_at:
            self._next_at = now + self.dice.uniform(*self.pause_seconds)
            self._break(self._draw())

    def mend_all(self) -> None:
        for _, _, mend in self._mends:
            mend.action()
        self._mends.clear()

    def _draw(self) -> str:
        if not self._bag:
            self._bag = self.dice.sample(list(self.faults), len(self.faults))
        return self._bag.pop()

    def _break(self, name: str) -> None:
        if self._is_broken(name.split()[0]):
            self._bag.insert(0, name)
            return
        self.counts[name] += 1
        mend = self.faults[name](self.stage, self.dice)
        if mend is not None:
            self._mends.append((time.monotonic() + mend.seconds, name, mend))

    def _is_broken(self, part: str) -> bool:
        return part in _SERVERS and any(name.startswith(part) for _, name, _ in self._mends)

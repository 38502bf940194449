"""What one look at a running farm shows: memory, connections, dead rows, sizes."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import psutil

from farm.db.tables.schema import METADATA
from tests.chaos.outage import spooled_bytes
from tests.chaos.programs import Program
from tests.chaos.stage import Stage

_DEAD = (
    "SELECT relname, n_dead_tup, pg_total_relation_size(relid) FROM pg_stat_user_tables WHERE relname = ANY(:names)"
)
_CONNECTIONS = """
    SELECT application_name, count(*) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND application_name LIKE 'farm-%' GROUP BY 1
"""


@dataclass(frozen=True)
class Sample:
    """`memory` is bytes by process; `dead` and `sizes` are rows and bytes by table; `at` counts from the start."""

    at: float
    images: int
    memory: Mapping[str, int]
    connections: Mapping[str, int]
    dead: Mapping[str, int]
    sizes: Mapping[str, int]
    spool_bytes: int


def take(stage: Stage, started: float) -> Sample:
    tables = stage.rows(_DEAD, names=list(METADATA.tables))
    return Sample(
        at=time.monotonic() - started,
        images=stage.scalar("SELECT count(*) FROM results"),
        memory=dict(_memory(stage)),
        connections=dict(map(tuple, stage.rows(_CONNECTIONS))),
        dead={name: dead for name, dead, _ in tables},
        sizes={name: size for name, _, size in tables},
        spool_bytes=sum(spooled_bytes(host.spool) for host in stage.hosts),
    )


def _memory(stage: Stage) -> Iterator[tuple[str, int]]:
    for program in stage.programs:
        yield from _of_program(program)
    for name, server in (("redis", stage.redis), ("postgres", stage.postgres)):
        assert server.process is not None
        first = psutil.Process(server.process.pid)
        # Postgres' processes share their buffers: only what each has for itself adds up.
        yield name, sum(_private_bytes(process) for process in [first, *first.children(recursive=True)])


def _of_program(program: Program) -> Iterator[tuple[str, int]]:
    for process in program.main():
        yield f"{program.name}, first process", process.memory_info().rss
    for process in program.offspring():
        with suppress(psutil.NoSuchProcess):
            yield f"{program.name}, second process", process.memory_info().rss


def _private_bytes(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return int(process.memory_full_info().uss)
    return 0

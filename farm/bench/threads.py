"""How torch's threads should wait for each other on a CPU: what a render takes alone, and beside a busy process."""

import json
import os
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from farm import programs
from farm.embedded.child import spawn, stop
from farm.presets import preset
from farm.specs import TextToImageSpec

# It ends with us, also where we are killed.
_BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"

# What libgomp, which torch's wheels bring, does where nothing is set: a few milliseconds.
_SPINS = "300000"


@dataclass(frozen=True)
class Way:
    """One way to wait, as environment variables."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)


def ways() -> Sequence[Way]:
    """What is compared. What the user set overrules the farm's own way, which is OMP_WAIT_POLICY=PASSIVE."""
    fewer = str(max(1, (os.cpu_count() or 1) - 1))
    return (
        Way("as the farm sets it"),
        Way("nothing set", {"GOMP_SPINCOUNT": _SPINS}),
        Way("GOMP_SPINCOUNT=1000", {"GOMP_SPINCOUNT": "1000"}),
        Way("GOMP_SPINCOUNT=10000", {"GOMP_SPINCOUNT": "10000"}),
        Way(f"OMP_NUM_THREADS={fewer}", {"OMP_NUM_THREADS": fewer, "GOMP_SPINCOUNT": _SPINS}),
        Way("KMP_BLOCKTIME=0 (Intel's OpenMP)", {"KMP_BLOCKTIME": "0", "GOMP_SPINCOUNT": _SPINS}),
    )


@dataclass(frozen=True)
class ThreadsFigures:
    """Medians of the seconds that the same images take in one way of waiting."""

    way: str
    alone_seconds: float
    beside_seconds: float

    @property
    def ratio(self) -> float:
        return self.beside_seconds / self.alone_seconds


def measure(images: int, *, rounds: int) -> list[ThreadsFigures]:
    """Render so many images of the demo in each way, alone and beside one busy process, in turn in every round.

    What else the machine does weighs on all of them alike.
    """
    alone, beside = defaultdict(list), defaultdict(list)
    for _ in range(rounds):
        for way in ways():
            alone[way.name].append(_time_renders(images, way))
            with _busy_process():
                beside[way.name].append(_time_renders(images, way))
    return [
        ThreadsFigures(way.name, statistics.median(alone[way.name]), statistics.median(beside[way.name]))
        for way in ways()
    ]


def _time_renders(images: int, way: Way) -> float:
    spec = TextToImageSpec(checkpoint="demo", prompt="a red circle", width=128, height=128, seed=1)
    command = programs.build_command(
        "workers.bare_loop", preset("demo").source, spec.model_dump_json(), str(images)
    )
    # The GPU has no part in it.
    variables = {"CUDA_VISIBLE_DEVICES": "", "TRANSFORMERS_VERBOSITY": "error", **way.variables}
    done = subprocess.run(
        command, env=programs.inherit_environment(variables), capture_output=True, text=True, check=True
    )
    seconds: float = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return seconds


@contextmanager
def _busy_process() -> Iterator[None]:
    """As another user's would be: in a session of its own, which the kernel gives a share of its own."""
    process = spawn(programs.build_snippet_command(_BUSY))
    try:
        yield
    finally:
        stop(process, grace_seconds=5)

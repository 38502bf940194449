"""How torch's threads should wait for each other on a CPU: a render's time, alone and next to a busy process."""

import json
import os
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from farm.embedded.child import spawn, stop
from farm.processes import programs
from farm.spec.image import TextToImageSpec
from farm.weights.presets import preset

# It ends with its parent, also if that is killed.
_BUSY = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"

# The default of libgomp, which comes with torch's wheels: a few milliseconds.
_SPINS = "300000"


@dataclass(frozen=True)
class WaitPolicy:
    """One way for threads to wait, as environment variables."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)


def list_wait_policies() -> Sequence[WaitPolicy]:
    """The policies to compare. Variables set by the user override the farm's own, OMP_WAIT_POLICY=PASSIVE."""
    fewer = str(max(1, (os.cpu_count() or 1) - 1))
    return (
        WaitPolicy("as the farm sets it"),
        WaitPolicy("nothing set", {"GOMP_SPINCOUNT": _SPINS}),
        WaitPolicy("GOMP_SPINCOUNT=1000", {"GOMP_SPINCOUNT": "1000"}),
        WaitPolicy("GOMP_SPINCOUNT=10000", {"GOMP_SPINCOUNT": "10000"}),
        WaitPolicy(f"OMP_NUM_THREADS={fewer}", {"OMP_NUM_THREADS": fewer, "GOMP_SPINCOUNT": _SPINS}),
        WaitPolicy("KMP_BLOCKTIME=0 (Intel's OpenMP)", {"KMP_BLOCKTIME": "0", "GOMP_SPINCOUNT": _SPINS}),
    )


@dataclass(frozen=True)
class ThreadsFigures:
    """Medians of the seconds that the same images take under one policy."""

    policy: str
    alone_seconds: float
    beside_seconds: float

    @property
    def ratio(self) -> float:
        return self.beside_seconds / self.alone_seconds


def measure(images: int, *, rounds: int) -> list[ThreadsFigures]:
    """Render so many demo images under each policy, alone and next to one busy process, in turn in every round.

    Other load on the machine affects all of them equally.
    """
    alone, beside = defaultdict(list), defaultdict(list)
    for _ in range(rounds):
        for policy in list_wait_policies():
            alone[policy.name].append(_time_renders(images, policy))
            with _busy_process():
                beside[policy.name].append(_time_renders(images, policy))
    return [
        ThreadsFigures(policy.name, statistics.median(alone[policy.name]), statistics.median(beside[policy.name]))
        for policy in list_wait_policies()
    ]


def _time_renders(images: int, policy: WaitPolicy) -> float:
    spec = TextToImageSpec(checkpoint="demo", prompt="a red circle", width=128, height=128, seed=1)
    command = programs.build_command(
        "workers.bench.bare_loop", preset("demo").source, spec.model_dump_json(), str(images)
    )
    # The GPU has no part in it.
    variables = {"CUDA_VISIBLE_DEVICES": "", "TRANSFORMERS_VERBOSITY": "error", **policy.variables}
    done = subprocess.run(
        command, env=programs.inherit_environment(variables), capture_output=True, text=True, check=True
    )
    seconds: float = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return seconds


@contextmanager
def _busy_process() -> Iterator[None]:
    """A busy process like another user's: in a session of its own, to which the kernel gives its own share."""
    process = spawn(programs.build_snippet_command(_BUSY))
    try:
        yield
    finally:
        stop(process, grace_seconds=5)

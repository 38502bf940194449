"""How torch's threads share a machine's cores, with each other and with whatever else runs there."""

import os
import subprocess
import sys

import pytest

from farm.config import Settings
from workers.parent.cores import read_quota, usable_cores
from workers.parent.devices import Device
from workers.parent.supervisor import Supervisor

CPU = Device("cpu", "a processor", "")

AS_TORCH_IS_IMPORTED = """
import os, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Watch())
__import__(sys.argv[1])
"""


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python as who set nothing but these variables."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env={**ours, **variables}, capture_output=True, text=True, check=True)


@pytest.mark.parametrize(
    "module",
    [
        "workers.diffusion",  # what a child opens its device with
        "workers.bench.bare_loop",
        "workers.bench.random_checkpoint",
        "workers.ingest.checkpoint",
        "workers.demo.training",
        "workers.demo.evaluation",
    ],
)
def test_the_wait_policy_of_threads_is_set_before_torch_is_imported(module: str) -> None:
    assert run("-c", AS_TORCH_IS_IMPORTED, module).stdout == "PASSIVE\n"


@pytest.mark.parametrize(
    ("variables", "policy"), [({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"), ({"GOMP_SPINCOUNT": "1000"}, "None")]
)
def test_a_wait_policy_that_the_user_sets_is_kept(variables: dict[str, str], policy: str) -> None:
    assert run("-c", AS_TORCH_IS_IMPORTED, "workers.model.pipelines", **variables).stdout == f"{policy}\n"


def test_the_openmp_that_torch_brings_waits_without_spinning() -> None:
    said = run("-c", "import workers, torch", OMP_DISPLAY_ENV="VERBOSE").stderr
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in said
    assert "GOMP_SPINCOUNT = '0'" in said


@pytest.mark.parametrize(
    ("cpu_max", "cores"), [("max 100000\n", None), ("250000 100000\n", 2), ("50000 100000\n", 1)]
)
def test_the_cpu_limit_of_a_container_is_read(cpu_max: str, cores: int | None) -> None:
    assert read_quota(cpu_max) == cores


def test_a_process_that_is_kept_to_one_core_computes_with_one_thread() -> None:
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    assert (
        run("-c", f"{program}; from workers.parent.cores import usable_cores; print(usable_cores())").stdout
        == "1\n"
    )


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_workers_on_the_cpu_share_the_usable_cores(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    supervisor = Supervisor(settings, [CPU] * count)
    assert {slot.threads for slot in supervisor._slots} == {max(1, usable_cores() // count)}


@pytest.mark.parametrize("said", ["3", "3,2"])
def test_workers_compute_with_as_many_threads_as_the_user_says(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert [slot.threads for slot in Supervisor(settings, [CPU])._slots] == [3]

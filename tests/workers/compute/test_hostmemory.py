"""How much memory a process may use, as the machine and each generation of control groups say it."""

import os
from pathlib import Path

import pytest

from workers.compute.hostmemory import HostMemory, give_back_heap, read_host_memory

GIB = 2**30
MACHINE = HostMemory(16 * GIB, 8 * GIB)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine of 16 GiB, half of them available, whose process is in no group."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "meminfo").write_text(f"MemTotal: {16 * 2**20} kB\nMemAvailable: {8 * 2**20} kB\n")
    return tmp_path / "proc"


def a_group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_this_machine_has_memory_and_some_of_it_is_available() -> None:
    memory = read_host_memory()
    assert 0 < memory.available <= memory.total


def test_the_machine_bounds_a_process_in_no_group(proc: Path, tmp_path: Path) -> None:
    assert read_host_memory(proc, tmp_path / "none") == MACHINE


def test_a_group_of_the_second_generation_bounds_its_processes(proc: Path, tmp_path: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/farm.slice/worker\n")
    stat = f"anon 5\ninactive_file {GIB}\n"
    a_group(
        tmp_path / "groups" / "farm.slice" / "worker",
        memory__max=f"{4 * GIB}\n",
        memory__current=f"{2 * GIB}\n",
        memory__stat=stat,
    )
    assert read_host_memory(proc, tmp_path / "groups") == HostMemory(4 * GIB, 3 * GIB)


def test_a_group_of_the_first_generation_bounds_its_processes(proc: Path, tmp_path: Path) -> None:
    (proc / "self" / "cgroup").write_text("4:memory:/farm\n1:cpu:/\n0::/\n")
    a_group(
        tmp_path / "groups" / "memory" / "farm",
        memory__limit_in_bytes=f"{4 * GIB}\n",
        memory__usage_in_bytes=f"{3 * GIB}\n",
        memory__stat=f"inactive_file 1\ntotal_inactive_file {GIB}\n",
    )
    assert read_host_memory(proc, tmp_path / "groups") == HostMemory(4 * GIB, 2 * GIB)


def test_the_group_above_bounds_too(proc: Path, tmp_path: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/farm/worker\n")
    files = {"memory__current": "0\n", "memory__stat": ""}
    a_group(tmp_path / "groups" / "farm" / "worker", memory__max="max\n", **files)
    a_group(tmp_path / "groups" / "farm", memory__max=f"{2 * GIB}\n", **files)
    assert read_host_memory(proc, tmp_path / "groups") == HostMemory(2 * GIB, 2 * GIB)


def test_the_group_of_a_container_is_found_at_the_root(proc: Path, tmp_path: Path) -> None:
    (proc / "self" / "cgroup").write_text("0::/docker/0123\n")
    a_group(tmp_path / "groups", memory__max=f"{GIB}\n", memory__current=f"{GIB}\n", memory__stat="")
    assert read_host_memory(proc, tmp_path / "groups") == HostMemory(GIB, 0)


@pytest.mark.parametrize("limit", ["max\n", f"{2**63 - 4096}\n", "?\n"])
def test_a_group_without_a_bound_bounds_nothing(proc: Path, tmp_path: Path, limit: str) -> None:
    (proc / "self" / "cgroup").write_text("0::/\n")
    a_group(tmp_path / "groups", memory__max=limit, memory__current="5\n", memory__stat="")
    assert read_host_memory(proc, tmp_path / "groups") == MACHINE


def test_a_machine_without_proc_counts_half_of_its_memory_as_available(tmp_path: Path) -> None:
    memory = read_host_memory(tmp_path / "proc", tmp_path / "groups")
    assert memory.available == memory.total // 2 > 0


def resident_bytes() -> int:
    """What this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_freed_memory_between_pieces_in_use_is_given_back() -> None:
    # Too small for pages of their own.
    pieces = [bytearray(100_000) for _ in range(1000)]
    kept = pieces[::50]
    before = resident_bytes()
    del pieces
    give_back_heap()
    assert len(kept) == 20
    assert before - resident_bytes() > 50 * 2**20

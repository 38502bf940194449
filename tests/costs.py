"""What an attack costs the farm: processor seconds and memory of a process, measured while it is attacked.

Processor time and not the clock's, since the suite's machine is busy with other tests.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

_MIB = 1024**2
_MOST_SHOWN = 60
_PROPERTY = "cost"


@dataclass(frozen=True)
class Meter:
    """Measures what a test does to a process, and fails the test where that is more than it may cost."""

    test: pytest.FixtureRequest

    @contextmanager
    def at_most(self, *, seconds: float, mebibytes: int, process: int | None = None) -> Iterator[None]:
        """Bound the processor time of the process and its ended children, and how far its memory grows.

        `process` is a process id; by default this process.
        """
        pid = process or os.getpid()
        _forget_peak(pid)
        memory_before, seconds_before = _memory(pid, "VmRSS"), _processor_seconds(pid)
        yield
        spent = _processor_seconds(pid) - seconds_before
        grown = max(0, _memory(pid, "VmHWM") - memory_before) // _MIB
        line = f"{spent:7.2f} s of {seconds:5.1f} {grown:6d} MiB of {mebibytes:5d}   {self.test.node.nodeid}"
        self.test.node.user_properties.append((_PROPERTY, line))
        assert spent <= seconds, f"{spent:.1f} s of processor time, where {seconds} are allowed"
        assert grown <= mebibytes, f"memory grew by {grown} MiB, where {mebibytes} are allowed"


def summary(terminal: pytest.TerminalReporter) -> None:
    """Print what the attacks of this run cost, the dearest first; of very many these alone."""
    lines = [
        line
        for reports in terminal.stats.values()
        for report in reports
        # What a test costs as a whole is known when it has been torn down.
        if getattr(report, "when", None) == "teardown"
        for name, line in report.user_properties
        if name == _PROPERTY
    ]
    if not lines:
        return
    terminal.section("what the attacks cost, of so much that is allowed")
    for line in sorted(lines, reverse=True)[:_MOST_SHOWN]:
        terminal.write_line(line)
    if len(lines) > _MOST_SHOWN:
        terminal.write_line(f"and {len(lines) - _MOST_SHOWN} that cost no more than the last of these")


def _forget_peak(pid: int) -> None:
    """Begin the kernel's record of the process's highest memory anew: proc(5), clear_refs."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _memory(pid: int, field: str) -> int:
    """Bytes of a field of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))


def _processor_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)

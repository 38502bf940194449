"""A child's log is passed on, and its last words are kept."""

import subprocess
import sys

import pytest

from workers.parent.childlog import ChildLog


def run(program: str) -> ChildLog:
    child = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
    assert child.stderr is not None
    tail = ChildLog(child.stderr)
    child.wait(30)
    return tail


def test_every_line_of_a_log_is_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    run("import sys; [print(n, file=sys.stderr) for n in range(30)]").text()
    assert capsys.readouterr().err.splitlines() == [str(n) for n in range(30)]


def test_the_last_lines_of_a_log_are_kept() -> None:
    tail = run("import sys; [print(n, file=sys.stderr) for n in range(30)]")
    assert tail.text().splitlines() == [str(n) for n in range(10, 30)]


def test_the_trace_of_a_crash_is_kept() -> None:
    assert "Segmentation fault" in run("import faulthandler as f; f.enable(); f._sigsegv()").text()


def test_an_endless_line_is_cut() -> None:
    assert len(run("import sys; sys.stderr.write('x' * 100_000)").text()) == 500

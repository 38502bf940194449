"""A former release in a process of its own, on a database of this one."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from farm.errors import FarmError
from farm.processes import programs
from tests.bench.former.life import Statement, Step

_ROOT = Path(__file__).parents[3]
_HAND = Path(__file__).with_name("hand.py")


class FormerReleaseFailed(FarmError):
    """The former release could not do what it was asked to."""


class FormerRelease:
    """Does what it is asked to with the code of the former release; `steps` has everything that it did."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.steps: list[Step] = []

    def do(self, name: str, *arguments: Any, **fields: Any) -> Any:
        """Take a step, which is a method of `hand.Hand`. Raises FormerReleaseFailed with the error's name."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, arguments, fields]) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "its process ended", "told": []}')
        self.steps.append(Step(name, tuple(Statement(**told) for told in answer["told"])))
        if "error" in answer:
            raise FormerReleaseFailed(f"{name}: {answer['error']}")
        return answer["result"]


def check_out(revision: str, folder: Path) -> Path:
    """Write the tree of a revision of this repository into a new folder; return that."""
    folder.mkdir()
    archive = subprocess.run(["git", "archive", revision], cwd=_ROOT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "--extract", "--directory", folder], input=archive, check=True)
    return folder


@contextmanager
def run_release(tree: Path, database_url: str) -> Iterator[FormerRelease]:
    """The release whose tree lies in a folder, until the end of the context."""
    process = subprocess.Popen(
        [sys.executable, "-P", str(_HAND), database_url],
        env=programs.inherit_environment({"PYTHONPATH": str(tree)}),
        cwd=tree,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield FormerRelease(process)
        assert process.stdin is not None
        process.stdin.close()

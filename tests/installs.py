"""Installations of the package that hold what an extra requires and nothing else."""

import os
import subprocess
import sys
import venv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from farm.config import Settings
from farm.embedded.machine import build_environment

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Installation:
    """A venv; programs run in its folder, so that nothing of this repository is found by its place."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def start(self, *arguments: str, settings: Settings) -> subprocess.Popen[bytes]:
        """Start `python ARGUMENTS` with the settings of a farm."""
        return subprocess.Popen([self.python, *arguments], **self._options(settings))

    def run(self, *arguments: str, settings: Settings) -> str:
        """Run `python ARGUMENTS` to its end; return all it says. Fails where that fails."""
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        done = subprocess.run([self.python, *arguments], check=False, **pipes, **self._options(settings))
        assert done.returncode == 0, done.stdout
        return str(done.stdout)

    def _options(self, settings: Settings) -> dict[str, Any]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return {"cwd": self.folder, "env": {**ours, **build_environment(settings)}}


def build_wheel(folder: Path) -> Path:
    """The wheel of the package, as it would be published."""
    _pip("wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    [wheel] = folder.glob("*.whl")
    return wheel


def install(folder: Path, wheel: Path, extra: str | None = None) -> Installation:
    """Let pip install the wheel with an extra, and all that they require, in a new venv."""
    venv.create(folder)
    target = f"diffusion-farm[{extra}] @ {wheel.as_uri()}" if extra else str(wheel)
    _pip("--python", folder, "install", "--no-compile", "--constraint", ROOT / "constraints.txt", target)
    return Installation(folder)


def link(folder: Path, wheel: Path, extra: str) -> Installation:
    """As `install`, of what the tests run with: it takes torch's gigabyte no time.

    A new venv is given links to those distributions that the extra's requirements lead to, and to no other.
    """
    venv.create(folder)
    [site] = folder.glob("lib/python*/site-packages")
    chosen = closure(wheel, extra)
    others = [found for found in distributions() if found.name not in {known.name for known in chosen}]
    assert names_in(chosen).isdisjoint(names_in(others)), "a link would show more than is required"
    for found in chosen:
        for name in names_in([found]):
            (site / name).symlink_to(Path(str(found.locate_file(name))))
    _pip("--python", folder, "install", "--no-compile", "--no-deps", wheel)
    return Installation(folder)


def closure(wheel: Path, extra: str) -> list[Distribution]:
    """The installed distributions that a wheel's requirements lead to."""
    [ours] = distributions(path=[str(wheel)])
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [*_required(ours, ""), *_required(ours, extra)]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        known = ours if name == canonicalize_name(ours.name) else found.setdefault(name, distribution(name))
        for wanted in {("", name), *((extra, name) for extra in requirement.extras)} - seen:
            seen.add(wanted)
            waiting += _required(known, wanted[0])
    return list(found.values())


def _required(found: Distribution, extra: str) -> list[Requirement]:
    lines = map(Requirement, found.requires or ())
    return [line for line in lines if line.marker is None or line.marker.evaluate({"extra": extra})]


def names_in(chosen: Iterable[Distribution]) -> set[str]:
    """What distributions have in site-packages: their packages, modules and records."""
    return {name for found in chosen for name in _names(found)}


def _names(found: Distribution) -> Iterator[str]:
    for file in found.files or ():
        if file.parts[0] not in ("..", "__pycache__"):
            yield file.parts[0]


def _pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

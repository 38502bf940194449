"""How this project starts programs, its own in Python and others by name: none comes from the current folder.

Whoever adds a download stands in the folder it lies in, and that may hold a `torch.py` as well.
"""

import os
import shutil
import sys
from collections.abc import Mapping

_SEARCHED = ("PATH", "PYTHONPATH")
# What finds programs and libraries, the language, the time zone, and how threads compute.
_HARMLESS = frozenset(
    {
        "DYLD_LIBRARY_PATH",
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHOME",
        "PYTHONNOUSERSITE",
        "PYTHONPATH",
        "PYTHONPYCACHEPREFIX",
        "PYTHONUSERBASE",
        "PYTHONUTF8",
        "TMPDIR",
        "TZ",
    }
)
_HARMLESS_BEGINNINGS = ("GOMP_", "KMP_", "LC_", "MKL_", "OMP_", "OPENBLAS_")


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of this project, with this interpreter.

    `-P` keeps the current folder off the path of imports, where `-m` alone would put it first.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def snippet(code: str) -> list[str]:
    """The command line that runs a few lines of Python."""
    return [sys.executable, "-P", "-c", code]


def inherited(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a program that is part of the farm: our own, secrets included, and these variables."""
    return {**_without_current_folder(os.environ), **(variables or {})}


def bare(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a program that needs no setting and may know no secret, and these variables."""
    kept = {name: value for name, value in os.environ.items() if _is_harmless(name)}
    return {**_without_current_folder(kept), **(variables or {})}


def _is_harmless(name: str) -> bool:
    return name in _HARMLESS or name.startswith(_HARMLESS_BEGINNINGS)


def _without_current_folder(environment: Mapping[str, str]) -> dict[str, str]:
    """What children start in their turn leaves the current folder alone as well."""
    searched = {name: _absolute_folders(environment.get(name, "")) for name in _SEARCHED}
    others = {name: value for name, value in environment.items() if name not in searched}
    # A search path that is set and empty would be the current folder as well.
    return {**others, **{name: path for name, path in searched.items() if path}, "PYTHONSAFEPATH": "1"}


def _absolute_folders(path: str) -> str:
    """A search path without `.` and the like. An empty entry, as `PATH=$MINE:/usr/bin` has, means `.` too."""
    return os.pathsep.join(folder for folder in path.split(os.pathsep) if os.path.isabs(folder))


def library_folders() -> list[str]:
    """The folders that the user lets programs take libraries from, beside those of the system."""
    return [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if os.path.isabs(folder)]


def find(name: str, path: str | None = None) -> str | None:
    """Where a program lies on a search path, by default PATH; what lies in the current folder is not found."""
    searched = os.environ.get("PATH", os.defpath) if path is None else path
    return shutil.which(name, path=_absolute_folders(searched))

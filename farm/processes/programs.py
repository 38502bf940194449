"""How this project starts programs, its own in Python and others by name: none is taken from the current folder.

The current folder may be one of downloads, and hold a `torch.py` as well.
"""

import os
import shutil
import sys
from collections.abc import Mapping

_SEARCHED = ("PATH", "PYTHONPATH")
# Search paths for programs and libraries, the language, the time zone, and settings of threads.
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


def build_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module of this project, with this interpreter.

    `-P` keeps the current folder off the path of imports, where `-m` alone would put it first.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def build_snippet_command(code: str) -> list[str]:
    """The command line that runs a few lines of Python."""
    return [sys.executable, "-P", "-c", code]


def inherit_environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a program that is part of the farm: ours, secrets included, and these variables."""
    return {**_remove_current_folder(os.environ), **(variables or {})}


def strip_environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a program that needs no setting and must not see a secret, and these variables."""
    kept = {name: value for name, value in os.environ.items() if _is_harmless(name)}
    return {**_remove_current_folder(kept), **(variables or {})}


def _is_harmless(name: str) -> bool:
    return name in _HARMLESS or name.startswith(_HARMLESS_BEGINNINGS)


def _remove_current_folder(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables without the current folder on search paths; child processes of the program inherit that."""
    searched = {name: _keep_absolute_folders(environment.get(name, "")) for name in _SEARCHED}
    others = {name: value for name, value in environment.items() if name not in searched}
    # A search path that is set but empty would mean the current folder as well.
    return {**others, **{name: path for name, path in searched.items() if path}, "PYTHONSAFEPATH": "1"}


def _keep_absolute_folders(path: str) -> str:
    """A search path without `.` and the like. An empty entry, as `PATH=$MINE:/usr/bin` has, means `.` too."""
    return os.pathsep.join(folder for folder in path.split(os.pathsep) if os.path.isabs(folder))


def list_library_folders() -> list[str]:
    """The folders of libraries that the user has added to those of the system."""
    return [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if os.path.isabs(folder)]


def find(name: str, path: str | None = None) -> str | None:
    """The path of a program on a search path, by default PATH; the current folder is not searched."""
    searched = os.environ.get("PATH", os.defpath) if path is None else path
    return shutil.which(name, path=_keep_absolute_folders(searched))

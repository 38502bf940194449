"""The walls between the parts of the farm, and the one home of each vendor."""

import ast
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("farm", "workers", "web", "migrations")

HOMES = {
    "torch": ("workers/",),
    "diffusers": ("workers/",),
    "transformers": ("workers/",),
    "flask": ("web/",),
    "flask_openapi3": ("web/",),
    "boto3": ("farm/store/s3.py",),
    "botocore": ("farm/store/s3.py",),
    "celery": ("farm/queue/doorbell.py", "workers/"),
    "kombu": ("farm/queue/doorbell.py", "workers/"),
    "alembic": ("farm/db/migrate.py", "migrations/"),
    "httpx": ("farm/client.py", "farm/network/proxies.py", "farm/cli/", "farm/weights/hub/"),
    "click": ("farm/cli/", "workers/demo/"),
    "rich": ("farm/cli/",),
}

USERS_OF_THE_ENVIRONMENT = (
    "farm/config.py",
    "farm/processes/programs.py",  # what a child inherits
    "workers/__init__.py",  # how the threads of torch wait, before it is imported
    "workers/main.py",  # the devices that this process was given
    "workers/parent/children.py",  # the device a child is pinned to, before it imports torch
)


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (ROOT / package).rglob("*.py")


@cache
def imported(module: Path) -> frozenset[str]:
    """The top-level names of everything that a module imports, wherever in it."""
    nodes = list(ast.walk(ast.parse(module.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return frozenset(name.split(".")[0] for name in names)


def outside(modules: Iterator[str], homes: tuple[str, ...]) -> list[str]:
    return sorted({module for module in modules if not module.startswith(homes)})


def place(module: Path) -> str:
    return module.relative_to(ROOT).as_posix()


def test_the_contracts_between_packages_hold() -> None:
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", lint, "--no-cache"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ", 0 broken." in checked.stdout, checked.stdout + checked.stderr


@pytest.mark.parametrize("vendor", HOMES)
def test_a_vendor_has_one_home(vendor: str) -> None:
    users = (place(module) for module in modules() if vendor in imported(module))
    assert outside(users, HOMES[vendor]) == []


def test_the_environment_is_used_in_few_places() -> None:
    users = (place(module) for module in modules() if uses_environment(module))
    assert outside(users, USERS_OF_THE_ENVIRONMENT) == []


def uses_environment(module: Path) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr in ("environ", "getenv", "putenv")
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        for node in ast.walk(ast.parse(module.read_text()))
    )


def test_statuses_of_tasks_are_written_in_one_place() -> None:
    writers = (place(module) for module in modules() if "update(Task)" in module.read_text())
    assert sorted(writers) == ["farm/queue/leases.py", "farm/queue/lifecycle.py"]


def test_a_lease_is_renewed_without_touching_the_status() -> None:
    renewed = (ROOT / "farm/queue/leases.py").read_text().split("update(Task)")[1].split(".returning")[0]
    assert "status" not in renewed


IMPORT_ALL = """
import importlib, pkgutil, subprocess, socket, sys, threading

def forbidden(*arguments, **options):
    raise AssertionError("an import must not start or open anything")

class ForbiddenProcess(subprocess.Popen):
    __init__ = forbidden

subprocess.Popen = ForbiddenProcess
socket.socket.connect = forbidden
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith(("__main__", "migrations.env")):
        importlib.import_module(module.name)
print(threading.active_count(), sorted({"torch", "diffusers", "transformers", "flask"} & set(sys.modules)))
"""


@pytest.mark.parametrize(("package", "vendors"), [("farm", []), ("web", ["flask"])])
def test_importing_a_package_starts_nothing(package: str, vendors: list[str]) -> None:
    imports = [sys.executable, "-W", "error", "-c", IMPORT_ALL, package]
    done = subprocess.run(imports, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stderr, done.stdout) == ("", f"1 {vendors}\n")


@pytest.mark.parametrize(
    ("module", "spared"),
    [
        ("workers.main", "torch"),  # the parent of the children that render
        ("workers.ingest.run", "torch"),  # what tells that a file holds no weights
        ("workers.ingest.additions", "diffusers"),  # what takes a LoRA in
        ("farm.spec.modes", "sqlalchemy"),  # what an image is
        ("farm.cli.main", "httpx"),  # what finds the command that is asked for
    ],
)
def test_a_slow_import_is_spared_where_it_is_not_needed(module: str, spared: str) -> None:
    program = f"import sys, {module}; print({spared!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_every_module_opens_with_its_purpose() -> None:
    assert [place(module) for module in modules() if not ast.get_docstring(ast.parse(module.read_text()))] == []


def test_every_error_says_what_happened() -> None:
    errors = import_module("farm.errors")
    own = {
        name: thing for name, thing in vars(errors).items() if getattr(thing, "__module__", None) == errors.__name__
    }
    assert [name for name, error in own.items() if isinstance(error, type) and not error.__doc__] == []


def test_every_package_is_shipped() -> None:
    shipped = {package.name for package in pkgutil.iter_modules([str(ROOT)]) if package.ispkg} - {"tests"}
    assert shipped == set(PACKAGES)


MOST_MODULES = 16
MOST_LINES = 300
TOP_OF_FARM = {"__init__", "__main__", "accounts", "client", "config", "crashpoints", "errors", "imports", "logs"}


def rooms() -> Iterator[Path]:
    for package in ("farm", "workers", "web"):
        yield from (init.parent for init in (ROOT / package).rglob("__init__.py"))


def test_a_package_has_few_modules_but_for_the_commands_which_have_one_each() -> None:
    counts = {place(room): len(list(room.glob("*.py"))) for room in rooms()}
    assert [(room, count) for room, count in counts.items() if count > MOST_MODULES and room != "farm/cli"] == []


def test_a_module_has_few_lines() -> None:
    lines = {place(module): module.read_text().count("\n") for module in modules()}
    assert [(module, count) for module, count in lines.items() if count > MOST_LINES] == []


def test_the_top_of_farm_has_only_what_every_room_needs_or_none_does() -> None:
    assert {module.stem for module in (ROOT / "farm").glob("*.py")} == TOP_OF_FARM


def test_every_test_of_a_room_lies_in_a_room_of_that_name() -> None:
    mirrored = ("farm", "workers", "web")
    folders = {place(test.parent).removeprefix("tests/") for test in (ROOT / "tests").rglob("test_*.py")}
    strangers = {folder for folder in folders if folder.startswith(tuple(f"{top}/" for top in mirrored))}
    assert sorted(folder for folder in strangers if not (ROOT / folder).is_dir()) == []

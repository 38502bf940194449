"""Each module of tables works by itself, whichever others a process has imported."""

import subprocess
import sys

import pytest

from farm.db.tables.schema import METADATA, MODULES

RESOLVE = """
import importlib, sys
from sqlalchemy.orm import configure_mappers
from farm.db.tables.base import Base
importlib.import_module(sys.argv[1])
configure_mappers()
print(len([key.column for table in Base.metadata.sorted_tables for key in table.foreign_keys]))
"""


@pytest.mark.parametrize("module", [module.__name__ for module in MODULES])
def test_a_module_of_tables_imports_what_its_tables_refer_to(module: str) -> None:
    resolved = subprocess.run([sys.executable, "-c", RESOLVE, module], capture_output=True, text=True, check=False)
    assert resolved.returncode == 0, resolved.stderr


def test_the_schema_has_the_tables_of_all_modules() -> None:
    named = {table.__tablename__ for module in MODULES for table in vars(module).values() if is_table(table)}
    assert named == METADATA.tables.keys()


def is_table(found: object) -> bool:
    return hasattr(found, "__tablename__")

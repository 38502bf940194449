"""Rows that are deleted one by one are looked for by an index in all tables that refer to them."""

import pytest

from tests.factories import Scene

DELETED = ("artifacts", "attempts", "groups", "jobs", "tasks", "uploads", "workers")
FEW = ("seats",)
"""Tables with a row for each live worker at most."""

UNINDEXED = """
    SELECT c.conrelid::regclass || ' (' || a.attname || ')'
    FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
    WHERE c.contype = 'f' AND c.confrelid = CAST(:table AS regclass) AND NOT c.conrelid::regclass::text = ANY(:few)
      AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1]
                      AND i.indpred IS NULL)
"""


@pytest.mark.parametrize("table", DELETED)
def test_what_refers_to_a_row_that_is_deleted_is_found_by_an_index(scene: Scene, table: str) -> None:
    assert scene.column(UNINDEXED, table=table, few=list(FEW)) == []

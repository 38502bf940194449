"""What a former release told Postgres in a short life, step by step: recorded once, and told again at any time.

A file of a life has JSON in its lines: first each statement once, then each step with the numbers and the
parameters of its statements, in the order in which they were told, and last how the tasks of every job stood.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

Standing = dict[str, int]
"""How many tasks stand at each status, by `<job id> <status of the job> <status of its tasks>`."""

_STANDING = """
    SELECT j.id || ' ' || j.status || ' ' || t.status, count(*) FROM jobs j JOIN tasks t ON t.job_id = j.id
    GROUP BY j.id, t.status
"""


@dataclass(frozen=True)
class Statement:
    """A statement as psycopg takes it, with its parameters by name; or a COPY with its rows."""

    sql: str
    parameters: Mapping[str, Any] | None = None
    rows: Sequence[Sequence[Any]] | None = None

    def tell(self, connection: psycopg.Connection) -> None:
        if self.rows is None:
            connection.execute(self.sql.encode(), {k: _from_json(v) for k, v in (self.parameters or {}).items()})
            return
        with connection.cursor() as cursor, cursor.copy(self.sql.encode()) as copy:
            for row in self.rows:
                copy.write_row(row)


def _from_json(value: Any) -> Any:
    return Jsonb(value["json"]) if isinstance(value, dict) else value


@dataclass(frozen=True)
class Step:
    """What a release did, by the name of the method of `hand.Hand`: one transaction or several."""

    name: str
    statements: Sequence[Statement]

    def tell(self, connection: psycopg.Connection) -> None:
        """Tell it all again, in one transaction."""
        with connection.transaction():
            for statement in self.statements:
                statement.tell(connection)


@dataclass(frozen=True)
class Life:
    """The steps that a release took on the farm in use, and how the tasks stood in the end."""

    steps: Sequence[Step]
    standing: Standing = field(default_factory=dict)

    def named(self, *names: str) -> list[Step]:
        return [step for step in self.steps if step.name in names]


def read_standing(connection: psycopg.Connection) -> Standing:
    return dict(connection.execute(_STANDING).fetchall())


def write_life(life: Life, path: Path) -> None:
    statements = list(dict.fromkeys(statement.sql for step in life.steps for statement in step.statements))
    lines: list[dict[str, Any]] = [{"sql": sql} for sql in statements]
    lines += [
        {"step": step.name, "told": [[statements.index(s.sql), s.parameters, s.rows] for s in step.statements]}
        for step in life.steps
    ]
    lines.append({"standing": life.standing})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def read_life(path: Path) -> Life:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    statements = [line["sql"] for line in lines if "sql" in line]
    return Life(tuple(_steps(lines, statements)), lines[-1]["standing"])


def _steps(lines: Sequence[Mapping[str, Any]], statements: Sequence[str]) -> Iterator[Step]:
    for line in lines:
        if "step" in line:
            told = (Statement(statements[number], parameters, rows) for number, parameters, rows in line["told"])
            yield Step(line["step"], tuple(told))

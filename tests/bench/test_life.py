"""The record of what a former release told Postgres."""

import json
from pathlib import Path

from tests.bench.former.life import Life, Statement, Step, read_life, write_life
from tests.bench.former.record import LIFE

ASKED = Statement("SELECT 1", {"p": 1})
COPIED = Statement("COPY tasks FROM STDIN", None, [[1, "queued"]])


def test_a_life_is_read_as_it_was_written(tmp_path: Path) -> None:
    life = Life((Step("submit", (COPIED, ASKED)), Step("claim", (ASKED,))), {"1 active queued": 2})
    write_life(life, tmp_path / "life.jsonl")
    assert read_life(tmp_path / "life.jsonl") == life


def test_a_life_has_each_statement_once(tmp_path: Path) -> None:
    write_life(Life((Step("claim", (ASKED, ASKED)),)), tmp_path / "life.jsonl")
    lines = (tmp_path / "life.jsonl").read_text().splitlines()
    assert [json.loads(line).get("sql") for line in lines] == ["SELECT 1", None, None]


def test_the_steps_of_a_life_are_found_by_name() -> None:
    claim = Step("claim", (ASKED,))
    assert Life((Step("submit", ()), claim)).named("claim") == [claim]


def test_the_recorded_life_has_a_step_of_each_part_of_a_farm() -> None:
    names = {step.name for step in read_life(LIFE).steps}
    assert names >= {"submit", "claim", "renew", "publish", "fail", "hand_back", "expire", "cancel", "retry"}

"""Files of prompts as they are submitted: whatever is wrong with a row is named by file and line, all at once."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from farm.cli.main import main
from farm.cli.rows import RequestedRow, name_lines
from tests.cli.conftest import Farm
from tests.farms import RunningFarm

NEVER = ("-c", "demo", "--steps", "2", "--pool", "nobody")


def refused(farm: Farm, *arguments: object) -> list[str]:
    """What is said of each mistake of a job that is refused."""
    said = farm("submit", *NEVER, *arguments)
    first, *rest = said.stderr.splitlines()
    assert (said.exit_code, first) == (2, "The request is refused; nothing was stored:")
    return [line.strip() for line in rest]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A file whose rows show a good picture, two bad ones, and one that is not there."""
    Image.linear_gradient("L").resize((72, 64)).convert("RGB").save(tmp_path / "good.png")
    (tmp_path / "bad.tiff").write_bytes(b"II*\0nothing")
    (tmp_path / "bad.svg").write_text("<svg/>")
    rows = ["prompt,image", "ok,good.png", "one,bad.tiff", "two,bad.svg", "three,gone.png", "four,good.png"]
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    return tmp_path / "rows.csv"


def test_all_bad_pictures_are_named_by_their_lines(farm: Farm, pictures: Path) -> None:
    found = refused(farm, "--file", pictures)
    assert [line.partition(": ")[0] for line in found] == [f"{pictures}, line {n}, image" for n in (3, 4, 5)]
    assert "'gone.png' is neither a file in" in found[2]
    assert "bad.tiff: " in found[0]


def test_a_row_that_the_portal_refuses_is_named_by_its_line(farm: Farm, tmp_path: Path) -> None:
    file = tmp_path / "rows.yaml"
    file.write_text("- a fox\n- prompt: an owl\n  checkpoint: demmo\n- prompt: <lora:nobody:1>\n- a hare\n")
    found = refused(farm, "--file", file)
    assert [line.partition(": ")[0] for line in found] == [
        f"{file}, line 2, checkpoint",
        f"{file}, line 4, prompt",
    ]
    assert "Did you mean 'demo'" in found[0]


def test_a_typed_prompt_is_refused_without_a_line(farm: Farm, tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("\n<lora:nobody:1>\n")
    found = refused(farm, "<lora:nobody:2>", "--file", tmp_path / "rows.txt")
    assert [line.partition(": ")[0] for line in found] == [
        "prompts[0].prompt",
        f"{tmp_path / 'rows.txt'}, line 2, prompt",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a fox\nan owl\n",
        '["a fox", "an owl"]',
        "prompt;seed\na fox;1\nan owl;2\n",
        '{"prompt": "a fox"}\n{"prompt": "an owl"}\n',
    ],
)
def test_prompts_may_come_from_standard_input(running: RunningFarm, text: str) -> None:
    environment = {"FARM_DATA_DIR": str(running.farm.settings.data_dir)}
    arguments = ["submit", *NEVER, "--json", "--file", "-"]
    said = CliRunner(env=environment).invoke(main, arguments, input=text)
    assert said.exit_code == 0, said.output
    tasks = running.client.tasks(json.loads(said.stdout)["id"])
    assert [task.spec["prompt"] for task in tasks] == ["a fox", "an owl"]


def test_a_mistake_in_standard_input_is_named_by_its_line(running: RunningFarm) -> None:
    environment = {"FARM_DATA_DIR": str(running.farm.settings.data_dir)}
    said = CliRunner(env=environment).invoke(main, ["submit", *NEVER, "--file", "-"], input="prompt,steps\na,x\n")
    assert (said.exit_code, "standard input, line 2, num_inference_steps: " in said.stderr) == (2, True)


def test_a_seed_of_minus_one_in_a_row_is_replaced_by_a_random_one(
    farm: Farm, running: RunningFarm, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text("prompt,seed\na fox,-1\nan owl,-1\na hare,\n")
    said = farm("submit", *NEVER, "--json", "--seed", "7", "--file", tmp_path / "rows.csv")
    seeds = [task.spec["seed"] for task in running.client.tasks(json.loads(said.stdout)["id"])]
    assert (seeds[0] != 7, seeds[1] != seeds[0], seeds[2]) == (True, True, 7)


def test_a_seed_option_of_minus_one_gives_each_prompt_a_random_seed(farm: Farm, running: RunningFarm) -> None:
    said = farm("submit", *NEVER, "--json", "--seed", "-1", "a fox", "an owl")
    assert said.exit_code == 0, said.output
    first, second = [task.spec["seed"] for task in running.client.tasks(json.loads(said.stdout)["id"])]
    assert (first >= 0, first != second) == (True, True)


def test_a_message_that_names_rows_names_their_lines() -> None:
    rows = [RequestedRow({"prompt": "a"}), RequestedRow({"prompt": "b"}, "rows.txt, line 1")]
    said = name_lines("prompts[1] and prompts[0] weigh nothing, as prompts[7] does", rows)
    assert said == "rows.txt, line 1 and prompts[0] weigh nothing, as prompts[7] does"


@pytest.mark.parametrize(
    ("warning", "named"),
    [
        ("row 2: 1 bracket", "a.txt, line 4: 1 bracket"),
        ("rows 1 and 2: x", "a.txt, line 3 and a.txt, line 4: x"),
        ("rows 1, 2 and 1,041 more: x", "a.txt, line 3, a.txt, line 4 and 1,041 more: x"),
        ("row 3: x", "row 3: x"),
        ("rows of lamps: x", "rows of lamps: x"),
    ],
)
def test_a_warning_of_rows_names_their_lines(warning: str, named: str) -> None:
    rows = [RequestedRow({}, "a.txt, line 3"), RequestedRow({}, "a.txt, line 4"), RequestedRow({})]
    assert name_lines(warning, rows) == named

"""What is typed as a prompt and was meant as a file, or as text of one, is refused: it would be rendered."""

from pathlib import Path

import pytest

from farm.cli.rows import read_prompt_rows
from farm.errors import InvalidRequest


def refusals(*typed: str) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        read_prompt_rows(typed, None)
    return [f"{problem.field}: {problem.message}" for problem in caught.value.problems]


@pytest.mark.parametrize("name", ["pl.txt", "pl.csv", "my pl.YAML"])
def test_the_name_of_a_file_is_refused_as_a_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_text("a fox\n")
    monkeypatch.chdir(tmp_path)
    [said] = refusals("an owl", name)
    assert said.startswith(f"prompts[1]: {name!r} names a file")
    assert "use --file " in said


def test_the_name_of_a_picture_is_refused_with_a_hint_at_the_image_option(tmp_path: Path) -> None:
    (tmp_path / "fox.png").write_bytes(b"")
    [said] = refusals(str(tmp_path / "fox.png"))
    assert "--image starts from it" in said


def test_a_dash_for_standard_input_is_refused_as_a_prompt() -> None:
    assert refusals("-") == ["prompts[0]: `-` is not a prompt: read standard input with --file -"]


@pytest.mark.parametrize(
    "text", ['--prompt "a fox" --steps 20', '[{"prompt": "a fox"}]', "prompt,steps\na fox,20", "- prompt: a fox"]
)
def test_the_text_of_a_prompt_file_is_refused_as_a_prompt(text: str) -> None:
    [said] = refusals(text)
    assert said.endswith("and give that to farm submit --file")


@pytest.mark.parametrize(
    "text",
    ["gone.txt", "fox", "prompt", "a fox, -", "style: baroque", "a fox\nin snow", "x" * 9000, "[a|b]"],
)
def test_any_other_text_is_taken_as_a_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "fox").write_text("a fox\n")
    monkeypatch.chdir(tmp_path)
    assert [asked.fields["prompt"] for asked in read_prompt_rows([text], None)] == [text]

"""Prompt files of every format, and all that can be wrong with them, told at once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from farm.errors import InvalidRequest
from farm.promptfile import read_prompts
from farm.specs import Hires

FileOf = Callable[[str, str | bytes], Path]


@pytest.fixture
def file_of(tmp_path: Path) -> FileOf:
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def problems(path: Path) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        read_prompts(path)
    return [(problem.field, problem.message) for problem in caught.value.problems]


def prompts(path: Path) -> list[str]:
    return [row.prompt for row in read_prompts(path)]


class TestPlainLines:
    @pytest.mark.parametrize("name", ["prompts.txt", "prompts", "prompts.md"])
    def test_each_line_is_a_prompt(self, file_of: FileOf, name: str) -> None:
        assert prompts(file_of(name, "a fox\na lighthouse\n")) == ["a fox", "a lighthouse"]

    def test_empty_lines_and_comments_are_passed_over(self, file_of: FileOf) -> None:
        assert prompts(file_of("p.txt", "# animals\n\n  a fox  \n \n")) == ["a fox"]

    def test_windows_line_ends_are_no_part_of_a_prompt(self, file_of: FileOf) -> None:
        assert prompts(file_of("p.txt", "a fox\r\na lighthouse\r\n")) == ["a fox", "a lighthouse"]

    def test_any_script_may_be_written(self, file_of: FileOf) -> None:
        assert prompts(file_of("p.txt", "灯台\n등대 🦊\n")) == ["灯台", "등대 🦊"]

    def test_a_byte_order_mark_is_no_part_of_the_first_prompt(self, file_of: FileOf) -> None:
        assert prompts(file_of("p.txt", b"\xef\xbb\xbfa fox")) == ["a fox"]

    def test_a_prompt_that_is_too_long_is_named_by_its_line(self, file_of: FileOf) -> None:
        [(field, _)] = problems(file_of("p.txt", f"a fox\n\n{'x' * 10_001}\n"))
        assert field == "line 3, prompt"


class TestJson:
    def test_a_list_may_mix_texts_and_objects(self, file_of: FileOf) -> None:
        rows = read_prompts(file_of("p.json", '["a fox", {"prompt": "a lighthouse", "seed": 7}]'))
        assert [(row.prompt, row.seed) for row in rows] == [("a fox", None), ("a lighthouse", 7)]

    def test_bad_entries_are_counted_from_one(self, file_of: FileOf) -> None:
        found = problems(file_of("p.json", '["a fox", 5, {"prompt": "a", "width": 65}, null]'))
        assert [field for field, _ in found] == ["entry 2, prompt", "entry 3, width", "entry 4, prompt"]

    def test_what_is_not_json_is_said_with_its_place(self, file_of: FileOf) -> None:
        assert problems(file_of("p.json", '["a fox",\n')) == [
            ("file", "is not JSON: Expecting value: line 2 column 1 (char 10)")
        ]

    def test_an_object_is_no_list_of_prompts(self, file_of: FileOf) -> None:
        assert problems(file_of("p.json", '{"prompt": "a fox"}')) == [
            ("file", "must be a list of prompts or of objects with a prompt")
        ]

    @pytest.mark.parametrize(
        "alias",
        [
            *({"steps": 9}, {"cfg_scale": 3}, {"cfg": 3}, {"count": 4}, {"denoising": 0.5}),
            *({"sampler_name": "DDIM"}, {"schedule": "Karras"}, {"format": "webp"}),
        ],
    )
    def test_other_programs_names_are_understood(self, file_of: FileOf, alias: dict[str, object]) -> None:
        [row] = read_prompts(file_of("p.json", json.dumps([{"prompt": "a fox", **alias}])))
        assert set(row.model_dump(exclude_none=True).values()) == {"a fox", *alias.values()}

    def test_the_suffix_may_be_written_in_capitals(self, file_of: FileOf) -> None:
        assert prompts(file_of("P.JSON", '["a fox"]')) == ["a fox"]


class TestJsonLines:
    def test_each_line_is_a_text_or_an_object(self, file_of: FileOf) -> None:
        rows = read_prompts(file_of("p.jsonl", '"a fox"\n\n{"prompt": "a lighthouse", "negative": "fog"}\n'))
        assert [(row.prompt, row.negative_prompt) for row in rows] == [("a fox", None), ("a lighthouse", "fog")]

    def test_all_that_is_wrong_is_said_at_once(self, file_of: FileOf) -> None:
        found = problems(file_of("p.jsonl", '{"prompt": "a", "steps": 0}\nnot json\n\n{"sead": 1}\n'))
        assert [field for field, _ in found] == [
            "line 1, num_inference_steps",
            "line 2",
            "line 4, prompt",
            "line 4, sead",
        ]

    def test_a_line_that_is_not_json_tells_the_column(self, file_of: FileOf) -> None:
        assert problems(file_of("p.jsonl", '{"prompt" "a"}')) == [
            ("line 1", "is not JSON: Expecting ':' delimiter at column 11")
        ]

    def test_a_number_too_long_to_read_is_a_bad_line(self, file_of: FileOf) -> None:
        [(field, message)] = problems(file_of("p.jsonl", f'{{"prompt": "a", "seed": {"9" * 5000}}}'))
        assert (field, message[:11]) == ("line 1", "is not JSON")

    def test_a_line_separator_inside_a_prompt_ends_no_line(self, file_of: FileOf) -> None:
        assert prompts(file_of("p.jsonl", '"one\u2028two"\n"three\x85four"')) == ["one\u2028two", "three\x85four"]


class TestCsv:
    def test_the_header_names_the_columns_and_empty_cells_are_left_to_the_job(self, file_of: FileOf) -> None:
        rows = read_prompts(file_of("p.csv", "prompt,seed,cfg_scale\na fox,7,\na lighthouse,,3.5\n"))
        assert [(row.prompt, row.seed, row.guidance_scale) for row in rows] == [
            ("a fox", 7, None),
            ("a lighthouse", None, 3.5),
        ]

    def test_a_cell_in_quotes_may_hold_commas_and_lines(self, file_of: FileOf) -> None:
        assert prompts(file_of("p.csv", 'prompt\n"a fox, ""red"",\nin snow"\n')) == ['a fox, "red",\nin snow']

    def test_a_row_is_named_by_the_line_it_begins_on(self, file_of: FileOf) -> None:
        found = problems(file_of("p.csv", 'prompt,steps\n"a\nb",0\n\na,x\n'))
        assert [field for field, _ in found] == ["line 2, num_inference_steps", "line 5, num_inference_steps"]

    def test_a_cell_may_name_several_styles(self, file_of: FileOf) -> None:
        rows = read_prompts(file_of("p.csv", "prompt,styles\na fox,film | noir\nan owl,film\na hare,\n"))
        assert [row.styles for row in rows] == [["film", "noir"], ["film"], None]

    def test_each_setting_of_a_second_pass_has_a_column(self, file_of: FileOf) -> None:
        names = ("scale", "strength", "num_inference_steps", "upscaler", "width", "height")
        header = ",".join(["prompt", *(f"hires.{name}" for name in names)])
        first, second, third = read_prompts(
            file_of("p.csv", f"{header}\na,1.5,0.4,9,Lanczos,,\nb,,,,,640,768\nc\n")
        )
        assert first.hires == Hires(scale=1.5, strength=0.4, num_inference_steps=9, upscaler="Lanczos")
        assert (second.hires, third.hires) == (Hires(width=640, height=768), None)

    def test_a_setting_that_a_second_pass_has_not_is_named(self, file_of: FileOf) -> None:
        found = problems(file_of("p.csv", "prompt,hires.scale,hires.colour\na,2,red\nb,9,\n"))
        assert [field for field, _ in found] == ["line 2, hires.colour", "line 3, hires.scale"]

    def test_empty_rows_are_passed_over(self, file_of: FileOf) -> None:
        assert prompts(file_of("p.csv", "prompt,seed\n\na fox,1\n,\n")) == ["a fox"]

    @pytest.mark.parametrize("content", ["text,seed\na fox,1\n", "\n", ""])
    def test_a_file_without_a_prompt_column_is_refused(self, file_of: FileOf, content: str) -> None:
        assert problems(file_of("p.csv", content)) == [
            ("line 1", "the header of a CSV file must have a column `prompt`")
        ]

    def test_a_cell_too_many_is_refused(self, file_of: FileOf) -> None:
        assert problems(file_of("p.csv", "prompt\na fox, in snow\n")) == [
            ("line 2, (a cell without a heading)", "there is no such field")
        ]

    def test_a_byte_order_mark_is_no_part_of_the_header(self, file_of: FileOf) -> None:
        assert prompts(file_of("p.csv", b"\xef\xbb\xbfprompt\r\na fox\r\n")) == ["a fox"]

    def test_a_cell_beyond_all_bounds_is_refused(self, file_of: FileOf) -> None:
        [(field, message)] = problems(file_of("p.csv", f"prompt\n{'x' * 200_000}\n"))
        assert (field, message) == ("line 2", "is not CSV: field larger than field limit (131072)")


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl"])
def test_an_empty_file_holds_no_prompt(file_of: FileOf, name: str) -> None:
    path = file_of(name, "\n\n")
    assert problems(path) == [(str(path), "holds no prompt")]


@pytest.mark.parametrize("name", ["p.txt", "p.json", "p.jsonl", "p.csv"])
def test_a_file_that_is_not_utf8_is_refused(file_of: FileOf, name: str) -> None:
    path = file_of(name, "prompt\nein Füchslein".encode("latin-1"))
    assert problems(path) == [(str(path), "is not UTF-8 text")]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.txt"
    assert problems(path) == [(str(path), "No such file or directory")]

"""Prompt files of every format, and all that can be wrong with them, told at once."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from farm.errors import InvalidRequest
from farm.intake.promptfiles.read import read_prompts
from farm.spec.hires import Hires

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
    assert all(problem.field.startswith(str(path)) for problem in caught.value.problems)
    return [(problem.field.removeprefix(f"{path}, "), problem.message) for problem in caught.value.problems]


def prompts(path: Path) -> list[str]:
    return [row.prompt for row in read_prompts(path)]


class TestPlainLines:
    @pytest.mark.parametrize("name", ["prompts.txt", "prompts", "prompts.TXT"])
    def test_each_line_is_a_prompt(self, file_of: FileOf, name: str) -> None:
        assert prompts(file_of(name, "a fox\na lighthouse\n")) == ["a fox", "a lighthouse"]

    def test_empty_lines_and_comments_are_passed_over(self, file_of: FileOf) -> None:
        assert prompts(file_of("p.txt", "# animals\n\n  a fox  \n \n")) == ["a fox"]

    def test_a_line_that_may_be_a_comment_or_a_prompt_is_refused(self, file_of: FileOf) -> None:
        found = problems(file_of("p.txt", "#a comment\n# 1 another\n#1 a red star\n##\na fox\n"))
        assert [(field, message[:14]) for field, message in found] == [("line 3", "begins with #1")]

    def test_byte_order_marks_of_files_that_were_joined_are_no_part_of_a_prompt(self, file_of: FileOf) -> None:
        text = "\ufeffa fox\r\n\ufeffan owl\r\n\ufeff\ufeff# a comment\r\n\ufeff--prompt a --steps 8"
        assert prompts(file_of("p.txt", text)) == ["a fox", "an owl", "a"]
        assert prompts(file_of("p.csv", "\ufeffprompt\n\ufeffa fox\n")) == ["a fox"]

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
        assert [field for field, _ in found] == [
            "line 1, entry 2, prompt",
            "line 1, entry 3, width",
            "line 1, entry 4, prompt",
        ]

    def test_text_that_is_not_json_is_refused_with_its_place(self, file_of: FileOf) -> None:
        assert problems(file_of("p.json", '["a fox",\n')) == [("line 2, column 1", "is not JSON: expecting value")]

    def test_one_object_with_a_prompt_is_a_row(self, file_of: FileOf) -> None:
        assert prompts(file_of("p.json", '{"prompt": "a fox"}')) == ["a fox"]

    @pytest.mark.parametrize(
        ("text", "place", "why"),
        [
            ('{"prompts": ["a fox"]}', "line 1", "is a whole request, as POST /api/v1/jobs takes it"),
            ('{"text": "a fox"}', "line 1", "is an object without a prompt"),
            ('"a fox"', "line 1, column 1", "must be a list of prompts"),
            ('[\n"a fox",\n]', "line 2, column 8", "is not JSON: a comma stands before the ]"),
            ('["a fox" "an owl"]', "line 1, column 10", "is not JSON: a comma or ] is missing"),
            ('["a fox"] "an owl"', "line 1, column 11", "is not JSON: something follows its end"),
            ('[{"prompt": "a", "prompt": "b"}]', "line 1, column 2", "`prompt` stands twice"),
            ('["a", NaN]', "line 1, column 7", "is not JSON: NaN is no number"),
            ("[" * 10_000, "line 1, column 2", "is nested too deeply"),
        ],
    )
    def test_other_json_is_refused_by_its_place(self, file_of: FileOf, text: str, place: str, why: str) -> None:
        [(field, message)] = problems(file_of("p.json", text))
        assert (field, message[: len(why)]) == (place, why)

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

    def test_all_mistakes_of_a_file_are_reported_at_once(self, file_of: FileOf) -> None:
        found = problems(file_of("p.jsonl", '{"prompt": "a", "steps": 0}\nnot json\n\n{"sead": 1}\n'))
        assert [field for field, _ in found] == [
            "line 1, num_inference_steps",
            "line 2",
            "line 4, prompt",
            "line 4, sead",
        ]

    def test_a_line_that_is_not_json_is_refused_with_the_column(self, file_of: FileOf) -> None:
        assert problems(file_of("p.jsonl", '{"prompt" "a"}')) == [
            ("line 1", "is not JSON: expecting ':' delimiter at column 11")
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
        [(field, message)] = problems(file_of("p.csv", content))
        assert (field, message[:41]) == ("line 1", "the header must have a column `prompt`, p")

    def test_a_cell_too_many_is_refused(self, file_of: FileOf) -> None:
        [(field, message)] = problems(file_of("p.csv", "prompt\na fox, in snow\n"))
        assert (field, message.partition(";")[0]) == ("line 2", "has 2 cells, but the header has 1")

    def test_a_byte_order_mark_is_no_part_of_the_header(self, file_of: FileOf) -> None:
        assert prompts(file_of("p.csv", b"\xef\xbb\xbfprompt\r\na fox\r\n")) == ["a fox"]

    def test_a_cell_beyond_all_bounds_is_refused(self, file_of: FileOf) -> None:
        [(field, message)] = problems(file_of("p.csv", f"prompt\n{'x' * 200_000}\n"))
        assert (field, message) == ("line 2, prompt", "string should have at most 10000 characters")

    @pytest.mark.parametrize(
        ("text", "line", "why"),
        [
            ('prompt,steps\na,8\n"b,8\nc,8\nd,8\n', 3, "a quote opens here and is never closed"),
            ('prompt,steps\n"a,8\nb,8\nc 5",8\n', 2, "a quote opens here and is closed on line 4,"),
            ('prompt,steps\n"a,8\nb,8\n"c",8\n', 2, "a quote opens here, and behind the one that closes it"),
            ('prompt,steps\na "sign",8\n', 2, "a quote stands within a cell that does not begin with one"),
            (
                'prompt,negative_prompt\n"a,red\nb,green\nc",blue\n',
                2,
                "a quote opens here and is closed on line 4,",
            ),
        ],
    )
    def test_a_stray_quote_swallows_no_rows(self, file_of: FileOf, text: str, line: int, why: str) -> None:
        [(field, message)] = problems(file_of("p.csv", text))
        assert (field, message[: len(why)]) == (f"line {line}", why)

    @pytest.mark.parametrize("delimiter", [",", ";", "\t"])
    @pytest.mark.parametrize(
        ("header", "before", "row"),
        [
            ("prompt,seed,steps", "a red star,1,20", '"a blue star\non white",2,20'),
            ("prompt,seed", "a red star,1", '"a blue star\non white",2'),
            ("prompt,negative_prompt,seed,steps", "a,fog,1,20", '"a blue star\non white",rain,2,20'),
            ("prompt,negative_prompt", "a,fog", '"masterpiece,best quality\n1girl,solo",bad'),
            ("prompt,steps", "a,20", '"masterpiece,best quality\n1girl",20'),
            ("prompt,steps", "", '"masterpiece,best quality\n1girl,solo\nsitting",20'),
            ("seed,prompt", "1,1990", '2,"masterpiece\n1girl,solo"'),
            ("styles,negative_prompt,prompt", "a,b,c", 'a,b,"masterpiece\n1girl,solo,red\na,b,c"'),
        ],
    )
    def test_a_prompt_of_several_lines_is_one_cell_beside_any_others(
        self, file_of: FileOf, header: str, before: str, row: str, delimiter: str
    ) -> None:
        text = "\n".join([header, before, row, before, ""]).replace(",", delimiter)
        inside = row[row.index('"') + 1 : row.rindex('"')].replace(",", delimiter)
        assert inside in prompts(file_of("p.csv", text))

    @pytest.mark.parametrize("row", ['"a,8\nc",8', '"a,,8\nb,,8\nc",,8', '"a,1,8\nb,2,8\nc",3,"8"'])
    def test_a_cell_over_rows_with_numbers_is_refused(self, file_of: FileOf, row: str) -> None:
        header, before = ("prompt,seed,steps", "z,1,8") if ",1" in row or ",," in row else ("prompt,steps", "z,8")
        [(field, message)] = problems(file_of("p.csv", f"{header}\n{before}\n{row}\n"))
        assert (field, message[:41]) == ("line 3", "a quote opens here and is closed on line ")

    def test_a_cell_with_lines_that_are_no_rows_is_one_cell(self, file_of: FileOf) -> None:
        text = 'prompt,steps\n"a fox,\nin snow, at dusk\n",8\n'
        assert prompts(file_of("p.csv", text)) == ["a fox,\nin snow, at dusk\n"]

    @pytest.mark.parametrize(
        ("header", "why"),
        [
            ("prompt,steps,prompt", "the column `prompt` stands twice in the header"),
            ("prompt,Steps,steps", "the column `steps` stands twice in the header"),
        ],
    )
    def test_a_column_twice_is_refused_by_name(self, file_of: FileOf, header: str, why: str) -> None:
        assert problems(file_of("p.csv", f"{header}\na,8,b\n")) == [("line 1", why)]

    def test_two_names_of_one_field_are_refused_by_both(self, file_of: FileOf) -> None:
        assert problems(file_of("p.csv", "prompt,steps,num_inference_steps\na,8,9\n")) == [
            ("line 2, num_inference_steps", "is said twice, by `steps` and by `num_inference_steps`")
        ]

    @pytest.mark.parametrize(
        "text",
        [
            "prompt;cfg_scale\na, b;5\n",
            "sep=;\r\nprompt;cfg_scale\r\na, b;5\r\n",
            "Prompt\t CFG Scale \na, b\t5\n",
            '"Prompt" , "cfg-scale"\r"a, b" , 5\r',
        ],
    )
    def test_other_delimiters_headings_and_line_ends_are_understood(self, file_of: FileOf, text: str) -> None:
        [row] = read_prompts(file_of("p.csv", text))
        assert (row.prompt, row.guidance_scale) == ("a, b", 5)

    @pytest.mark.parametrize("delimiter", [";", "\t"])
    def test_numbers_with_decimal_commas_are_read_where_no_comma_parts_cells(
        self, file_of: FileOf, delimiter: str
    ) -> None:
        text = "prompt;cfg_scale;Denoising Strength;hires.scale\n1,5;7,5;0,4;1,5\n".replace(";", delimiter)
        [row] = read_prompts(file_of("p.csv", text))
        assert (row.prompt, row.guidance_scale, row.strength) == ("1,5", 7.5, 0.4)
        assert row.hires == Hires(scale=1.5)

    @pytest.mark.parametrize(
        ("text", "said", "hint"),
        [
            ('prompt,seed\na,"1,234"', "'1,234': input should be a valid integer", "without a comma"),
            ("prompt,seed\na,1.23457E+09", "'1.23457E+09': input should be", "a spreadsheet shortened it"),
            ('prompt,cfg_scale\na,"7,5"', "'7,5': input should be a valid number", "decimals with a point"),
            ("prompt;seed\na;1,5", "'1.5': input should be a valid integer", ""),
            ("prompt,steps\na,999", "'999': input should be less than", ""),
            ("prompt,hires.scale\na,big", "'big': input should be a valid number", ""),
        ],
    )
    def test_a_bad_number_is_shown_with_a_hint(self, file_of: FileOf, text: str, said: str, hint: str) -> None:
        [(_, message)] = problems(file_of("p.csv", text))
        assert message.startswith(said)
        assert hint in message

    @pytest.mark.parametrize("text", ["\n\nprompt;seed\na;1\n", " \nprompt;seed\na;1", ";;\n;\nprompt;seed\na;1\n"])
    def test_empty_lines_above_the_header_are_passed_over(self, file_of: FileOf, text: str) -> None:
        assert [(row.prompt, row.seed) for row in read_prompts(file_of("p.csv", text))] == [("a", 1)]

    def test_a_line_is_counted_from_the_first_even_if_that_is_empty(self, file_of: FileOf) -> None:
        assert [field for field, _ in problems(file_of("p.csv", "\n\nprompt,seed\na,x\n"))] == ["line 4, seed"]

    def test_quotes_between_tabs_may_be_text(self, file_of: FileOf) -> None:
        text = 'prompt\tsteps\n"quoted" fox\t2\n"a ""b"" c"\t3\n"a\tb"\t4\n"" x\t5\n"a" or "b"\t6\n"a" "b"\t7\n'
        assert prompts(file_of("p.tsv", text)) == [
            '"quoted" fox',
            'a "b" c',
            "a\tb",
            '"" x',
            '"a" or "b"',
            '"a" "b"',
        ]

    def test_a_quote_between_tabs_that_is_never_closed_is_refused(self, file_of: FileOf) -> None:
        [(field, message)] = problems(file_of("p.tsv", 'prompt\tsteps\n"a\t2\nb\t3\n'))
        assert (field, message[:40]) == ("line 2", "a quote opens here and is never closed: ")

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-32"])
    def test_unicode_text_of_a_spreadsheet_is_read(self, file_of: FileOf, encoding: str) -> None:
        rows = read_prompts(file_of("p.tsv", 'prompt\tseed\r\na "灯台"\t-1\r\n'.encode(encoding)))
        assert [(row.prompt, row.seed) for row in rows] == [('a "灯台"', -1)]


WEBUI_LINES = """\
--prompt "a fox, red" --negative_prompt fog and rain --steps 8 --seed 350 --cfg_scale 5 --sampler_name "Euler a"
--prompt a red fox --seed -1 --batch_size 2 --n_iter 3 --width 64 --sd_model "demo.safetensors [0a1b2c3d4e]"
--prompt "a \\"sign\\" \\(red\\)" --restore_faces false --tiling false --subseed 4 --styles "film|noir"
an owl -- at night
"""


class TestWebuiLines:
    def test_each_option_is_a_setting_of_its_row(self, file_of: FileOf) -> None:
        rows = [row.model_dump(exclude_none=True) for row in read_prompts(file_of("p.txt", WEBUI_LINES))]
        size = {"width": 64, "checkpoint": "demo.safetensors [0a1b2c3d4e]"}
        steps = {"num_inference_steps": 8, "seed": 350, "guidance_scale": 5.0, "sampler": "Euler a"}
        assert rows == [
            {"prompt": "a fox, red", "negative_prompt": "fog and rain", **steps},
            {"prompt": "a red fox", "seed": -1, "images_per_prompt": 6, **size},
            {"prompt": r'a "sign" \(red\)', "styles": ["film", "noir"]},
            {"prompt": "an owl -- at night"},
        ]

    @pytest.mark.parametrize(
        ("line", "field", "why"),
        [
            ('--prompt "a fox', "", "is no line of options: no closing quotation"),
            ("--steps 8", "", "has options, but no --prompt"),
            ("--prompt", "", "`--prompt` has no value"),
            ("--prompt a --prompt b", "", "`--prompt` stands twice"),
            ("--prompt a --tiling maybe", "", "`--tiling` is true or false"),
            ("--- divider ---", "", "'---' is no option"),
            ("--prompt a --steps 8 9", "", "'9' is no option"),
            ("--prompt a --colour red", ", colour", "there is no such field"),
            ("--prompt a --step 3", ", step", "there is no such field"),
            ("--prompt a --tiling true", ", tiling", "is understood, and not rendered here"),
            ("--prompt a --subseed_strength 0.5", ", subseed_strength", "is understood, and not rendered here"),
            ("--prompt a --seed_resize_from_w 64", ", seed_resize_from_w", "is understood, and not rendered"),
            ("--prompt a --outpath_samples x", ", outpath_samples", "is no matter of a prompt"),
            ("--prompt a --sampler_index 3", ", sampler_index", "counts the samplers of one release"),
            ("--prompt a --do_not_save_samples true", ", do_not_save_samples", "cannot be"),
            ("--prompt a --batch_size 0", ", batch_size", "'0' is not a count of images"),
        ],
    )
    def test_a_line_that_cannot_be_followed_is_refused(
        self, file_of: FileOf, line: str, field: str, why: str
    ) -> None:
        [(place, message)] = problems(file_of("p.txt", f"a fox\n{line}\n"))
        assert (place, message[: len(why)]) == (f"line 2{field}", why)


class TestWebuiRequests:
    def test_a_request_of_the_webuis_api_is_a_row(self, file_of: FileOf) -> None:
        [row] = read_prompts(
            file_of(
                "p.json",
                """{"prompt": "a fox", "sampler_name": "Euler a", "scheduler": "Karras", "cfg_scale": 5,
                "batch_size": 2, "n_iter": 3, "subseed": -1, "subseed_strength": 0, "restore_faces": false,
                "tiling": null, "eta": 0, "s_tmax": 0, "s_noise": 1, "enable_hr": true,
                "hr_scale": 1.5, "hr_second_pass_steps": 0,
                "hr_upscaler": "Latent", "denoising_strength": 0.5, "hr_resize_x": 0, "hr_prompt": "",
                "override_settings": {"sd_model_checkpoint": "demo", "CLIP_stop_at_last_layers": 2},
                "script_name": null, "alwayson_scripts": {}, "send_images": true, "save_images": false}""",
            )
        )
        assert row.model_dump(exclude_unset=True) == {
            "prompt": "a fox",
            "sampler": "Euler a",
            "schedule_type": "Karras",
            "guidance_scale": 5.0,
            "images_per_prompt": 6,
            "checkpoint": "demo",
            "clip_skip": 2,
            "hires": {"scale": 1.5, "upscaler": "Latent", "strength": 0.5},
        }

    def test_an_inpainting_request_of_the_webuis_api_is_a_row(self, file_of: FileOf) -> None:
        fields = {"init_images": ["a.png"], "mask": "m.png", "resize_mode": 1, "inpainting_fill": 2, "mask_blur": 4}
        more = {"inpaint_full_res": True, "inpaint_full_res_padding": 8, "inpainting_mask_invert": 0}
        [row] = read_prompts(file_of("p.json", json.dumps({"prompt": "a fox", **fields, **more})))
        assert row.model_dump(exclude_unset=True) == {
            "prompt": "a fox",
            "image": "a.png",
            "mask": "m.png",
            "resize_mode": "crop",
            "mask_blur": 4,
            "masked_content": "latent_noise",
            "area": "masked",
            "padding": 8,
            "invert_mask": False,
        }

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"script_name": "x/y/z plot"}, "script_name"),
            ({"alwayson_scripts": {"controlnet": {}}}, "alwayson_scripts"),
            ({"refiner_checkpoint": "xl"}, "refiner_checkpoint"),
            ({"override_settings": {"eta_noise_seed_delta": 31337}}, "override_settings.eta_noise_seed_delta"),
            ({"enable_hr": True, "hr_prompt": "b"}, "hr_prompt"),
            ({"init_images": ["a.png", "b.png"]}, "init_images"),
            ({"init_images": ["a.png"], "resize_mode": 4}, "resize_mode"),
            ({"batch_size": 2, "count": 3}, "images_per_prompt"),
        ],
    )
    def test_a_field_of_the_webuis_api_that_is_not_supported_is_refused_by_name(
        self, file_of: FileOf, fields: dict[str, object], field: str
    ) -> None:
        [(place, _)] = problems(file_of("p.json", json.dumps([{"prompt": "a fox", **fields}])))
        assert place == f"line 1, entry 1, {field}"


class TestYaml:
    def test_a_list_may_mix_texts_and_settings(self, file_of: FileOf) -> None:
        text = (
            "- a fox\n- prompt: a lighthouse\n  steps: 8\n  styles: [film, noir]\n  hires: {scale: 1.5}\n- 'no'\n"
        )
        first, second, third = read_prompts(file_of("p.yaml", text))
        assert (first.prompt, second.num_inference_steps, second.styles) == ("a fox", 8, ["film", "noir"])
        assert (second.hires, third.prompt) == (Hires(scale=1.5), "no")

    def test_a_single_yaml_entry_is_a_row(self, file_of: FileOf) -> None:
        assert prompts(file_of("p.yml", "prompt: |\n  a fox\n  in snow\nseed: 7\n")) == ["a fox\nin snow\n"]

    @pytest.mark.parametrize(
        ("text", "line", "why"),
        [
            ("- a\n- no\n", 2, "prompt: YAML takes 'no' for a truth value, not a text; put it in quotes"),
            ("- a\n- prompt: 7\n", 2, "prompt: YAML takes '7' for a number"),
            ("- a\n- 2024-01-01\n", 2, "prompt: YAML takes '2024-01-01' for a date"),
            ("- prompt: a\n  aspect: 16:9\n", 2, "aspect: YAML takes '16:9' for a number"),
            ("- prompt: a\n  seed: 010\n", 2, "seed: '010' is no plain number"),
            ("- prompt: a\n  prompt: b\n", 2, "`prompt` stands twice, first on line 1"),
            ("- &a [x, x]\n- *a\n", 1, "anchors and aliases (& and *) are not read"),
            ("- a\n- !!python/name:os.system x\n", 2, "the tag tag:yaml.org,2002:python/name:os.system is not"),
            ("- a\n---\n- b\n", 2, "begins a second document"),
            ("[" * 3000, 1, "is nested more than 20 deep"),
            ("a: b\n", 1, "must be a list of prompts"),
            ('- "a fox\n- an owl"\n- a hare\n', 1, "a text goes on from here to line 2, over what look like"),
            ("- a fox\n  - an owl\n", 1, "a text goes on from here to line 2, over what look like"),
            ("- a\n- [b\n", 3, "is not YAML: "),
        ],
    )
    def test_text_that_yaml_takes_for_another_type_is_refused_by_line(
        self, file_of: FileOf, text: str, line: int, why: str
    ) -> None:
        [(place, message)] = problems(file_of("p.yaml", text))
        assert (place, message[: len(why)]) == (f"line {line}", why)


class TestRecognition:
    @pytest.mark.parametrize(
        ("text", "suffix"),
        [
            ('[{"prompt": "a fox"}]', "JSON"),
            ('["a fox", "an owl"]', "JSON"),
            ('[\n  {\n    "prompt": "a fox",\n  }\n]', "JSON"),
            ('{"prompt": "a fox"}\n{"prompt": "an owl"}', "JSON lines"),
            ("a hare\n" + '{"prompt": "a fox"}', "JSON lines"),
            ("prompt,steps\na fox,8", "a table"),
            ("Prompt;Seed\na fox;8", "a table"),
            ("negative_prompt\tprompt\nfog\ta fox", "a table"),
            ("prompt\na fox", "a table"),
            ("- prompt: a fox\n  steps: 8", "YAML"),
            ("prompt: a fox", "YAML"),
        ],
    )
    def test_lines_of_another_format_are_not_taken_for_prompts(
        self, file_of: FileOf, text: str, suffix: str
    ) -> None:
        [(_, message)] = problems(file_of("p.txt", text))
        assert message.startswith(f"looks like {suffix}, ")

    def test_the_parameters_text_of_an_image_is_not_taken_for_prompts(self, file_of: FileOf) -> None:
        text = "a fox\nNegative prompt: fog\nSteps: 20, Sampler: Euler a, CFG scale: 7\n"
        [(place, message)] = problems(file_of("p.txt", text))
        assert (place, message[:43]) == ("line 2", "is what the WebUI writes about an image, an")

    @pytest.mark.parametrize(
        "line",
        ["{a|b} fox", "[red|blue] fox", "[a fox]", '{"a"|"b"}', "- a fox", "a sign: prompt", "(a:1.2)", "16:9"],
    )
    def test_the_prompt_language_is_not_taken_for_another_format(self, file_of: FileOf, line: str) -> None:
        assert prompts(file_of("p.txt", f"{line}\n")) == [line]

    @pytest.mark.parametrize("name", ["p.txt", "-"])
    @pytest.mark.parametrize(
        "text",
        [
            "a red star\nimage: a boat on the sea\nstyle: baroque",
            "style: impressionism, a boat",
            "Image: a cat on a mat\nSteps: leading to heaven",
            "- style: baroque\n- seed: of a tree",
            "seed: 7",
        ],
    )
    def test_a_prompt_may_begin_with_the_name_of_a_field(
        self, file_of: FileOf, monkeypatch: pytest.MonkeyPatch, text: str, name: str
    ) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        path = Path("-") if name == "-" else file_of(name, text)
        assert prompts(path) == text.split("\n")

    @pytest.mark.parametrize("text", ["- prompt: a fox\n steps: 8", "prompt: a fox\nprompt: an owl"])
    def test_a_prompt_that_begins_as_yaml_would_have_it_is_refused(self, file_of: FileOf, text: str) -> None:
        [(place, message)] = problems(file_of("p.txt", text))
        assert (place, message[:13]) == ("line 1", "begins with `")

    @pytest.mark.parametrize(
        ("name", "advice"),
        [
            ("p.xlsx", "save the sheet as CSV"),
            ("p.docx", "save it as plain text"),
            ("p.md", "save it as plain text"),
            ("p.png", "--from-image reads how one was made"),
            ("p.v2", "Prompts come from .txt, .csv, .tsv, .json"),
        ],
    )
    def test_a_file_of_another_kind_is_refused_by_its_suffix(self, file_of: FileOf, name: str, advice: str) -> None:
        [(_, message)] = problems(file_of(name, "a fox"))
        assert message.startswith(f"{Path(name).suffix} files are not read")
        assert advice in message

    @pytest.mark.parametrize(
        ("content", "why"),
        [
            (b"PK\x03\x04" + bytes(50), "is a ZIP archive"),
            (b"\x89PNG\r\n", "is a PNG picture"),
            (b"%PDF-1.7", "is a PDF document"),
            (b"a fox\nan\x00owl", "must not contain a NUL character"),
            (b"a fox\nan\x1b[31m owl", "must not contain a control (U+001B) character"),
        ],
    )
    def test_a_file_that_is_no_text_is_refused_by_what_it_is(
        self, file_of: FileOf, content: bytes, why: str
    ) -> None:
        [(_, message)] = problems(file_of("p.txt", content))
        assert message.startswith(why)

    def test_a_file_larger_than_any_job_is_refused(self, file_of: FileOf) -> None:
        path = file_of("p.txt", b"a\n" * (2**24 + 1))
        assert problems(path) == [(str(path), "is larger than 32 MiB")]

    def test_a_device_without_an_end_is_refused(self) -> None:
        [(_, message)] = problems(Path("/dev/zero"))
        assert message == "is larger than 32 MiB"

    @pytest.mark.parametrize(
        "text",
        ['["a fox"]', '{"prompt": "a fox"}', "prompt,seed\na fox,1", "- prompt: a fox", "a fox", "--prompt a fox"],
    )
    def test_standard_input_is_read_by_what_it_holds(self, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert prompts(Path("-")) == ["a fox"]


@pytest.mark.parametrize("name", ["p.txt", "p.jsonl"])
def test_an_empty_file_holds_no_prompt(file_of: FileOf, name: str) -> None:
    path = file_of(name, "\n\n")
    assert problems(path) == [(str(path), "holds no prompt")]


@pytest.mark.parametrize("name", ["p.txt", "p.json", "p.jsonl", "p.csv"])
def test_a_file_that_is_not_utf8_is_refused(file_of: FileOf, name: str) -> None:
    path = file_of(name, "prompt\nein Füchslein".encode("latin-1"))
    assert problems(path) == [("line 2", "is not UTF-8 text; save it as UTF-8")]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.txt"
    assert problems(path) == [(str(path), "No such file or directory")]

"""What each tool writes into its images, made here as it documents it, becomes the request that it stands for."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from farm.errors import InvalidRequest
from farm.infotext import read_file, read_infotext
from farm.intake.request import parse_request
from tests.foreign import ASKED, DRAW_THINGS, EASY, FOOOCUS, FOOOCUS_OLDER, INVOKE, SWARM, TOOLS, a_png, comfy, node


@pytest.mark.parametrize("tool", TOOLS)
def test_an_image_of_another_tool_is_read_whole(tmp_path: Path, tool: str) -> None:
    read = read_file(TOOLS[tool](tmp_path))
    asked = {**read.fields, "schedule_type": None}
    wanted = ASKED if tool != "Civitai" else {name: value for name, value in ASKED.items() if name != "checkpoint"}
    assert asked == {**wanted, "schedule_type": None}
    parse_request(dict(read.fields))


def test_a_schedule_of_another_tool_has_the_webuis_name(tmp_path: Path) -> None:
    nodes = comfy(k={"sampler_name": "dpmpp_2m", "scheduler": "karras"})
    fields = read_file(a_png(tmp_path, prompt=json.dumps(nodes))).fields
    assert (fields["sampler"], fields["schedule_type"]) == ("DPM++ 2M", "Karras")


def test_an_unknown_sampler_keeps_its_name_and_is_refused(tmp_path: Path) -> None:
    read = read_file(a_png(tmp_path, prompt=json.dumps(comfy(k={"sampler_name": "res_multistep"}))))
    with pytest.raises(InvalidRequest, match="unknown sampler 'res_multistep'"):
        parse_request(dict(read.fields))


@pytest.mark.parametrize(
    ("name", "sampler", "schedule"),
    [
        ("dpmpp_2m_k", "DPM++ 2M", "Karras"),
        ("dpmpp_2m", "DPM++ 2M", "SGM Uniform"),
        ("euler", "Euler", "Uniform"),
        ("ddim", "DDIM", None),
        ("deis", "deis", None),
    ],
)
def test_a_scheduler_of_invokeai_is_a_sampler_and_a_schedule(
    tmp_path: Path, name: str, sampler: str, schedule: str | None
) -> None:
    fields = read_file(a_png(tmp_path, invokeai_metadata=json.dumps(INVOKE | {"scheduler": name}))).fields
    assert (fields["sampler"], fields.get("schedule_type")) == (sampler, schedule)


def test_loras_of_other_tools_are_called_in_the_prompt(tmp_path: Path) -> None:
    lora = {"loras": [{"model": {"name": "ink"}, "weight": 0.6}]}
    images = [
        a_png(tmp_path, invokeai_metadata=json.dumps(INVOKE | lora)),
        json.dumps({"sui_image_params": SWARM | {"loras": ["style/ink"], "loraweights": ["0.6"]}}),
        json.dumps(FOOOCUS | {"loras": [["ink", 0.6, "0123456789"]]}),
        json.dumps(FOOOCUS_OLDER | {"LoRA 1": "ink.safetensors : 0.6"}),
        json.dumps(DRAW_THINGS | {"lora": [{"model": "ink.ckpt", "weight": 0.6}]}),
        json.dumps(EASY | {"use_lora_model": ["ink"], "lora_alpha": ["0.6"]}),
    ]
    read = [read_file(image) if isinstance(image, Path) else read_infotext(image) for image in images]
    assert [each.fields["prompts"] for each in read] == [["a red circle <lora:ink:0.6>"]] * 6


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        ({"sd_metadata": "{}"}, "InvokeAI before release 3"),
        ({"Dream": '"a fox" -s 50'}, "InvokeAI before release 3"),
        ({"workflow": '{"nodes": [], "links": []}'}, "ComfyUI's workflow for its editor alone"),
        ({"Software": "NovelAI", "Description": "1girl", "Comment": '{"uc": ""}'}, "NovelAI"),
        ({"generation_data": "{}"}, "TensorArt"),
        ({"Comment": '{"prompt": "a", "uc": "b", "scale": 5, "sampler": "k_euler"}'}, "NovelAI"),
        ({"parameters": '{"software": "RuinedFooocus", "base_model_name": "x"}'}, "RuinedFooocus"),
        (
            {"parameters": '{"what": 1, "ever": 2}'},
            "a tool that is not known, with 'what', 'ever'; known are A1111",
        ),
        ({"Description": "my holidays"}, "but 'my holidays' in Description"),
        (
            {"Comment": "made with love"},
            "no parameters text of a tool that is known .* but 'made with love' in Comment",
        ),
    ],
)
def test_an_image_of_an_unsupported_tool_is_refused_by_the_tools_name(
    tmp_path: Path, texts: dict[str, str], why: str
) -> None:
    with pytest.raises(InvalidRequest, match=rf"image\.png: holds .*{why}"):
        read_file(a_png(tmp_path, **texts))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"sui_image_params": {"prompt": "a",}}', r"not JSON: .* at line 1 column 3\d"),
        ('{"sui_image_params": {"seed": 1, "seed": 2}}', "the key 'seed' is repeated"),
        ('{"sui_image_params": {"seed": NaN}}', "NaN is not a number"),
        ('{"sui_image_params": {"cfgscale": 1e999}}', "the number '1e999' is too large"),
        ('{"sui_image_params": {"prompt": "\\ud800"}}', "half a character"),
        ('{"sui_image_params": {"prompt": ["a"]}}', "whose prompt is not a text"),
        ('{"sui_image_params": [1]}', "whose sui_image_params is not an object"),
        (
            '{"sui_image_params": {"prompt": "a <segment:face>b"}}',
            "only SwarmUI supports: <segment:",
        ),
        ('{"a": ' * 10_000, "nested too deeply"),
        ('{"seed": ' + "1" * 5_000 + "}", "cannot be read"),
        ("Prompt: a\nNegative: b\nSeed: 3\nSteps: 2", "a line that is not known: 'Negative: b'"),
        ("a fox\nSampler: a\nSeed: 3\nSteps: 20", "a line that is not known: 'a fox'"),
        ('{"base_model": "x", "loras": [1, 2]}', "whose LoRAs cannot be read"),
        ('{"generation_mode": "flux_kontext", "positive_prompt": "a"}', "not supported here: 'flux_kontext'"),
    ],
)
def test_text_that_cannot_be_read_is_refused_with_the_place(text: str, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        read_infotext(text)


def test_settings_of_another_tool_that_mean_nothing_here_are_named() -> None:
    said = SWARM | {"refinermodel": "xl", "steps": "many", "freeuapply": False}
    del said["sampler"]
    warnings = read_infotext(json.dumps({"sui_image_params": said})).warnings
    assert warnings == (
        "it was made by SwarmUI, which renders differently: the picture will not be the same",
        "steps is left out: 'many' is no value for it",
        "left out, because it means nothing here: refinermodel",
        "it does not name its steps, sampler: the farm's defaults are used",
    )


def test_hashes_of_other_tools_are_kept_to_be_compared() -> None:
    models = [{"name": "ink.safetensors", "param": "loras", "hash": f"0x{'ab' * 32}"}]
    swarm = read_infotext(json.dumps({"sui_image_params": SWARM, "sui_models": models}))
    fooocus = read_infotext(json.dumps(FOOOCUS | {"loras": [["ink", 1, "0123456789"]]}))
    assert [(each.kind, each.name, each.digits) for each in (*swarm.hashes, *fooocus.hashes)] == [
        ("lora", "ink", "ab" * 32),
        ("lora", "ink", "0123456789"),
    ]
    assert fooocus.model_hash == "755e23487b"


def test_a_prompt_that_begins_with_a_brace_is_a_prompt() -> None:
    text = "{red|blue} bird\nSteps: 8, Sampler: Euler, Seed: 4"
    assert read_infotext(text).fields["prompts"] == ["{red|blue} bird"]


def a_long_chain() -> dict[str, Any]:
    lora = {"lora_name": "ink", "strength_model": 1, "strength_clip": 1}
    chain = {
        f"l{n}": node("LoraLoader", {**lora, "model": [f"l{n + 1}", 0], "clip": [f"l{n + 1}", 1]})
        for n in range(9_000)
    }
    last = {"l9000": node("CheckpointLoaderSimple", {"ckpt_name": "demo"})}
    first = comfy(k={"model": ["l0", 0]}, p={"clip": ["l0", 1]}, n={"clip": ["l0", 1]}, d={"vae": ["l9000", 2]})
    return {**first, **chain, **last}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(a_long_chain()),
        json.dumps({str(n): node("X", {"a": [str(n + 1), 0]}) for n in range(9_999)}),
        json.dumps({"sui_image_params": {"prompt": "[" * 1_000_000}}),
        json.dumps({"sui_image_params": {"prompt": "embedding:" * 100_000}}),
        json.dumps({"sui_image_params": {f"key{n}": 1 for n in range(100_000)}}),
        json.dumps({"positive_prompt": "a+" * 200_000}),
        "Prompt: a\nSeed: 1\n" * 9_000,
        "a fox\nSteps: 1, Seed: 2\n" + "note\n" * 30_000,
        "a fox\nSteps: 1, " + "Hashes: {" * 20_000,
    ],
)
def test_a_hostile_text_of_a_tool_is_read_or_refused_in_a_moment(text: str) -> None:
    started = time.process_time()
    with suppress(InvalidRequest):
        assert len(read_infotext(text).warnings) < 20
    assert time.process_time() - started < 3

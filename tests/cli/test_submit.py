"""`farm submit` in all its forms, on a farm that runs."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sqlalchemy import text

from tests.cli.conftest import Farm
from tests.farms import RunningFarm

SMALL = ("-c", "demo", "--steps", "2")
NEVER = ("--pool", "nobody")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.png"
    Image.linear_gradient("L").resize((72, 64)).convert("RGB").save(path)
    return path


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    path = tmp_path / "mask.png"
    Image.radial_gradient("L").resize((72, 64)).save(path)
    return path


def submitted(farm: Farm, running: RunningFarm, *arguments: object) -> list[dict[str, Any]]:
    """The specs of a job that no worker takes."""
    said = farm("submit", *SMALL, *NEVER, "--json", *arguments)
    assert said.exit_code == 0, said.output
    return [task.spec for task in running.client.tasks(json.loads(said.stdout)["id"])]


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ((), "img2img"),
        (("--strength", "0.5"), "img2img"),
        (("--mask", "MASK"), "inpaint"),
        (("--mask", "MASK", "--area", "masked", "--strength", "0.5"), "inpaint"),
        (("--left", "64"), "outpaint"),
        (("--aspect", "2:1", "--strength", "0.9"), "outpaint"),
        (("--scale", "2", "--upscaler", "SD upscale", "--tile", "64", "--overlap", "16"), "upscale"),
    ],
)
def test_the_mode_follows_from_the_given_options(
    farm: Farm, running: RunningFarm, picture: Path, mask: Path, options: tuple[str, ...], mode: str
) -> None:
    given = [str(mask) if option == "MASK" else option for option in options]
    [spec] = submitted(farm, running, "a fox", "--image", picture, *given)
    assert spec["mode"] == mode


def test_a_job_may_be_marked_and_kept_to_few_devices(farm: Farm, running: RunningFarm) -> None:
    said = farm("submit", "a fox", *SMALL, *NEVER, "--json", "--class", "bulk", "--max-devices", "2")
    assert said.exit_code == 0, said.output
    with running.database.begin() as session:
        query = text("SELECT class, max_devices FROM counters WHERE job_id = :id")
        assert session.execute(query, {"id": json.loads(said.stdout)["id"]}).all() == [("bulk", 2)]


def test_enlarging_a_picture_takes_no_prompt(farm: Farm, running: RunningFarm, picture: Path) -> None:
    [spec] = submitted(farm, running, "--image", picture, "--scale", 2)
    assert (spec["prompt"], spec["width"], spec["height"]) == ("", 144, 128)


def test_a_second_pass_is_given_by_scale_or_size(farm: Farm, running: RunningFarm) -> None:
    [scaled] = submitted(farm, running, "a fox", "--hires", 1.5, "--hires-steps", 3)
    [sized] = submitted(farm, running, "a fox", "--hires", "640x768", "--hires-upscaler", "Lanczos")
    assert (scaled["hires"]["scale"], scaled["hires"]["num_inference_steps"]) == (1.5, 3)
    assert (sized["hires"]["width"], sized["hires"]["upscaler"]) == (640, "Lanczos")


def test_axes_make_a_sweep(farm: Farm, running: RunningFarm) -> None:
    specs = submitted(farm, running, "a fox", "--axis", "seed=1-3", "--axis", "cfg=3,7")
    assert sorted((spec["seed"], spec["guidance_scale"]) for spec in specs) == [
        (seed, guidance) for seed in (1, 2, 3) for guidance in (3, 7)
    ]


def test_pictures_in_a_file_of_prompts_are_found_beside_it(
    farm: Farm, running: RunningFarm, picture: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("prompt,image,strength\na fox,picture.png,0.4\nan owl,picture.png,0.6\n")
    specs = submitted(farm, running, "--file", rows)
    assert [spec["strength"] for spec in specs] == [0.4, 0.6]
    assert len({spec["image"] for spec in specs}) == 1


def test_a_dry_run_counts_and_submits_nothing(farm: Farm) -> None:
    before = farm("jobs", "--json").stdout
    said = farm("submit", "a fox", *SMALL, "--axis", "seed=1-6", "--dry-run")
    assert said.stdout.startswith("6 images in 1 kind of batch")
    assert farm("jobs", "--json").stdout == before


def test_an_image_is_rendered_again_from_its_own_text(farm: Farm, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    asked = ("a [red:blue:0.5] (fox:1.2), \\(shy\\)", "--negative", "fog, rain", "--seed", "9", "-W", 64, "-H", 64)
    assert farm("submit", *asked, *SMALL, "--deterministic", "--download", first).exit_code == 0
    [image] = first.iterdir()
    assert farm("submit", "--from-image", image, "--download", second).exit_code == 0
    [again] = second.iterdir()
    assert Image.open(image).tobytes() == Image.open(again).tobytes()


def test_a_checkpoint_that_differs_from_the_images_is_warned_of(farm: Farm, tmp_path: Path) -> None:
    described = PngInfo()
    described.add_text("parameters", f"a fox\nSteps: 2, Seed: 1, RNG: CPU, Model hash: {'0' * 10}, Model: demo")
    image = tmp_path / "image.png"
    Image.new("RGB", (8, 8)).save(image, pnginfo=described)
    said = farm("submit", "--from-image", image, "--dry-run")
    assert said.exit_code == 0
    assert "Warning: 'demo' is another checkpoint here: its hash is " in said.stderr


def described(path: Path, text: str) -> Path:
    described = PngInfo()
    described.add_text("parameters", text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=described)
    return path


def test_a_strength_without_a_picture_is_warned_of_and_not_used(
    farm: Farm, running: RunningFarm, picture: Path, tmp_path: Path
) -> None:
    text = "a fox\nSteps: 2, Seed: 1, RNG: CPU, Size: 64x64, Model: demo, Denoising strength: 0.4"
    image = described(tmp_path / "image.png", text)
    alone = farm("submit", "--from-image", image, *NEVER, "--json")
    assert "its denoising strength 0.4 is not used" in alone.stderr
    [task] = running.client.tasks(json.loads(alone.stdout)["id"])
    [begun] = submitted(farm, running, "--from-image", image, "--image", picture)
    assert (task.spec["mode"], begun["mode"], begun["strength"]) == ("txt2img", "img2img", 0.4)


def test_an_image_of_an_unsupported_tool_is_refused_by_name(farm: Farm, tmp_path: Path) -> None:
    image = described(tmp_path / "image.png", '{"software": "RuinedFooocus", "base_model_name": "x"}')
    said = farm("submit", "--from-image", image)
    assert said.exit_code == 2
    assert "image.png: holds a text of RuinedFooocus: it is not read" in said.stderr


def test_an_upload_may_be_named_again(farm: Farm, running: RunningFarm, picture: Path) -> None:
    sent = running.client.upload(picture).id
    [spec] = submitted(farm, running, "a fox", "--image", sent)
    assert spec["image"] == sent


def test_a_picture_in_a_row_may_be_base64(farm: Farm, running: RunningFarm, tmp_path: Path) -> None:
    picture, rows = tmp_path / "noise.png", tmp_path / "rows.jsonl"
    Image.effect_noise((72, 64), 50).convert("RGB").save(picture)
    content = base64.b64encode(picture.read_bytes()).decode()
    rows.write_text(json.dumps({"prompt": "a fox", "image": content}))
    [spec] = submitted(farm, running, "--file", rows)
    assert spec["image"] == running.client.upload(picture).id


def test_a_missing_picture_is_reported_in_a_line(farm: Farm) -> None:
    said = farm("submit", "a fox", *SMALL, "--image", "/nope.png")
    assert (said.exit_code, "Traceback" in said.output) == (2, False)
    assert "image: '/nope.png' is neither a file here" in said.output


@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp", "avif"])
def test_every_format_carries_its_text(farm: Farm, tmp_path: Path, suffix: str) -> None:
    asked = ("a fox", *SMALL, "--seed", 9, "-W", 64, "-H", 64, "--format", suffix)
    assert farm("submit", *asked, "--download", tmp_path / "out").exit_code == 0
    [image] = (tmp_path / "out").iterdir()
    said = farm("submit", "--from-image", image, "--dry-run", "--json")
    assert (said.exit_code, json.loads(said.stdout)["images"]) == (0, 1)


def test_a_sweep_brings_its_grid(farm: Farm, tmp_path: Path) -> None:
    sweep = ("--axis", "steps=1,2", "--axis", "sampler=Euler,DDIM", "-W", 64, "-H", 64)
    assert farm("submit", "a fox", "-c", "demo", *sweep, "--download", tmp_path).exit_code == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) == 5
    assert sum("-grid-" in name for name in names) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "prompts: give a prompt, or a file of prompts with --file"),
        (("a fox", "--axis", "steps"), "axes: 'steps' is not FIELD=VALUE,VALUE,..."),
        (("a fox", "--mode", "inpaint"), "mask: inpaint needs one"),
        (("a fox", "--strength", "0.5", "--mode", "txt2img"), "strength: is for img2img"),
    ],
)
def test_options_that_do_not_fit_are_refused_by_name(farm: Farm, arguments: tuple[str, ...], message: str) -> None:
    said = farm("submit", *SMALL, *arguments)
    assert said.exit_code == 2
    assert message in said.output

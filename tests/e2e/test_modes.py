"""Every mode on every family of checkpoints, from a folder and from a single file, through the whole farm."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from farm.reports.shapes import ImageReport
from farm.store.protocol import open_store
from farm.weights import checkpoints
from farm.weights.add import SilentListener, WeightsImporter
from farm.weights.addrequest import AddRequest
from farm.weights.folder import inspect_folder
from tests.checkpoints import export_single_file, small_checkpoint
from tests.farms import RunningFarm, run_farm
from tests.ingesting import ingest_here

FAMILIES = ("sd15", "sd15-inpaint", "sd2", "sdxl")
FORMS = ("folder", "file")
STEPS = 3


def a_picture() -> Image.Image:
    """A gradient with a disc: no two of its rows are equal."""
    ramp = np.linspace(0, 255, 96).astype(np.uint8)
    pixels = np.stack([np.tile(ramp, (96, 1)), np.tile(ramp, (96, 1)).T, np.full((96, 96), 90, np.uint8)], axis=2)
    picture = Image.fromarray(pixels)
    ImageDraw.Draw(picture).ellipse((30, 30, 60, 60), (250, 240, 20))
    return picture


def a_mask() -> Image.Image:
    mask = Image.new("L", (96, 96), 0)
    ImageDraw.Draw(mask).rectangle((8, 8, 39, 39), 255)
    return mask


REQUESTS: Mapping[str, dict[str, Any]] = {
    "txt2img": {"width": 64, "height": 64},
    "hires fix": {
        "width": 64,
        "height": 64,
        "hires": {"scale": 1.5, "upscaler": "Latent", "num_inference_steps": 3},
    },
    "img2img": {"mode": "img2img", "image": "picture", "strength": 0.6},
    "inpaint": {"mode": "inpaint", "image": "picture", "mask": "mask", "mask_blur": 2},
    "inpaint, masked area": {
        "mode": "inpaint",
        "image": "picture",
        "mask": "mask",
        "area": "masked",
        "width": 64,
        "height": 64,
        "padding": 8,
    },
    "outpaint": {"mode": "outpaint", "image": "picture", "right": 32, "top": 32, "mask_blur": 4},
    "upscale": {"mode": "upscale", "image": "picture", "scale": 2},
    "SD upscale": {
        "mode": "upscale",
        "image": "picture",
        "scale": 2,
        "upscaler": "SD upscale",
        "tile": 96,
        "overlap": 24,
    },
}


@pytest.fixture(scope="module")
def farm_of_all_families(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningFarm]:
    folder = tmp_path_factory.mktemp("weights")
    with run_farm("cpu", max_batch=4) as running:
        store = open_store(running.farm.settings)
        warehouse = WeightsImporter(running.farm.settings, running.database, store, SilentListener(), ingest_here)
        for family in FAMILIES:
            source = small_checkpoint(family, folder / family)
            file = folder / f"{family}.safetensors"
            export_single_file(source, file)
            with running.database.begin() as session:
                checkpoints.add(session, f"{family}-folder", inspect_folder(source))
            warehouse.add(AddRequest("checkpoint", str(file), f"{family}-file", tokenizer=source / "tokenizer"))
        yield running


@pytest.fixture(scope="module")
def rendered(
    farm_of_all_families: RunningFarm, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[tuple[str, str, str], tuple[ImageReport, Image.Image]]:
    """The image of each family, form and request."""
    running = farm_of_all_families
    folder = tmp_path_factory.mktemp("inputs")
    a_picture().save(folder / "picture.png")
    a_mask().save(folder / "mask.png")
    sent = {
        "picture": running.client.upload(folder / "picture.png").id,
        "mask": running.client.upload(folder / "mask.png", "mask").id,
    }
    jobs = {
        (family, form, name): submit(running, f"{family}-{form}", request, sent)
        for family in FAMILIES
        for form in FORMS
        for name, request in REQUESTS.items()
    }
    return {key: image_of(running, job_id) for key, job_id in jobs.items()}


def submit(running: RunningFarm, checkpoint: str, request: dict[str, Any], sent: Mapping[str, str]) -> int:
    fields = {
        name: sent.get(value, value) if name in ("image", "mask") else value for name, value in request.items()
    }
    wanted = {"prompts": ["a red (star:1.2)"], "seed": 5, "num_inference_steps": STEPS, "checkpoint": checkpoint}
    return running.submit(**{"width": None, "height": None, **wanted, "deterministic": True, **fields})


def image_of(running: RunningFarm, job_id: int) -> tuple[ImageReport, Image.Image]:
    (picture,) = running.pictures(job_id)
    (report,) = running.client.images(job_id)
    return report, picture


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_single_file_renders_the_bytes_of_its_folder(rendered: Any, family: str, name: str) -> None:
    (_, from_folder), (_, from_file) = (rendered[family, form, name] for form in FORMS)
    assert from_folder.tobytes() == from_file.tobytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_mode_gives_the_size_that_follows_from_its_request(rendered: Any, family: str) -> None:
    sizes = {name: rendered[family, "folder", name][1].size for name in REQUESTS}
    assert sizes == {
        "txt2img": (64, 64),
        "hires fix": (96, 96),
        "img2img": (96, 96),
        "inpaint": (96, 96),
        "inpaint, masked area": (96, 96),
        "outpaint": (128, 128),
        "upscale": (192, 192),
        "SD upscale": (192, 192),
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["inpaint", "inpaint, masked area"])
def test_inpainting_keeps_the_input_outside_the_mask_bit_for_bit(rendered: Any, family: str, name: str) -> None:
    painted, source = np.asarray(rendered[family, "folder", name][1]), np.asarray(a_picture())
    far_from_mask = np.ones((96, 96), bool)
    far_from_mask[:56, :56] = False
    assert np.array_equal(painted[far_from_mask], source[far_from_mask])
    assert not np.array_equal(painted[10:38, 10:38], source[10:38, 10:38])


@pytest.mark.parametrize("family", FAMILIES)
def test_outpainting_keeps_the_picture_where_it_lay(rendered: Any, family: str) -> None:
    painted, source = np.asarray(rendered[family, "folder", "outpaint"][1]), np.asarray(a_picture())
    assert np.array_equal(painted[32 + 8 :, : 96 - 8], source[8:, : 96 - 8])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_image_says_how_it_was_made(rendered: Any, family: str) -> None:
    report, _ = rendered[family, "file", "txt2img"]
    assert report.provenance["checkpoint"] == f"{family}-file"
    assert report.provenance["family"] == family

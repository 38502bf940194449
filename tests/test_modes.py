"""Every mode has all of its parts; one that lacks some is found, with each part that it lacks."""

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from farm.cli.submit import submit
from farm.infotext.keys import KEYS
from farm.intake.request import JobRequest, PromptRow
from farm.spec.fields import PICTURES
from farm.spec.image import ImageSpec
from farm.spec.modes import MODES, USUAL_MODE, Mode, read_spec
from tests.factories import Scene
from tests.specs import OWN
from workers.modes import RENDERS

ROOT = Path(__file__).parents[1]
TEMPLATES = ROOT / "web/templates"
ROWS = "\n".join(page.read_text() for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")))

SIZE = {"width", "height"}
ADDONS = {"vae", "loras", "embeddings"}


def lacking(mode: Mode[Any]) -> Iterator[str]:
    """The parts that a mode is without."""
    if mode.spec.model_fields["mode"].default != mode.name:
        yield "the mode's name in its spec"
    if mode.name not in RENDERS:
        yield "a line in RENDERS of workers/modes"
    if not _partial(mode).exists():
        yield f"the form's partial {_partial(mode).name}"
    if f"\n| {mode.name} |" not in ROWS:
        yield "a row in the documentation"
    if mode.spec not in OWN:
        yield "a strategy in OWN of tests/specs.py"
    for name in sorted(mode.takes | set(mode.needs) | mode.implied_by):
        yield from _lacking_setting(mode, name)
    for name in sorted(mode.spec.model_fields.keys() - _written()):
        yield f"a key for {name} in farm/infotext/keys.py"


def _lacking_setting(mode: Mode[Any], name: str) -> Iterator[str]:
    if name not in mode.takes:
        yield f"{name} among what it takes"
    if name not in JobRequest.model_fields | PromptRow.model_fields:
        yield f"a field {name} of a request"
    if name not in {"prompt", *(option.name for option in submit.params)}:
        yield f"an option of farm submit for {name}"
    if not re.search(rf'field\.\w+\("{name}s?[".]', _form(mode)):
        yield f"a control for {name} in the form"


def _partial(mode: Mode[Any]) -> Path:
    return TEMPLATES / f"modes/_{mode.name}.html"


def _form(mode: Mode[Any]) -> str:
    own = _partial(mode).read_text() if _partial(mode).exists() else ""
    return (TEMPLATES / "submit.html").read_text() + own


def _written() -> set[str]:
    """The fields that a parameters text holds."""
    return {key.field.partition(".")[0] for key in KEYS} | SIZE | ADDONS


@pytest.mark.parametrize("name", MODES)
def test_a_mode_has_all_its_parts(name: str) -> None:
    assert list(lacking(MODES[name])) == []


class VideoSpec(ImageSpec):
    """A mode that is nowhere but in its record."""

    mode: Literal["video"] = "video"
    frames: int = 1


def test_a_mode_without_its_parts_is_found() -> None:
    record = dataclasses.replace(MODES["txt2img"], name="video", spec=VideoSpec)
    video = dataclasses.replace(record, takes=record.takes | {"frames"}, needs=("image",))
    assert list(lacking(video)) == [
        "a line in RENDERS of workers/modes",
        "the form's partial _video.html",
        "a row in the documentation",
        "a strategy in OWN of tests/specs.py",
        "a field frames of a request",
        "an option of farm submit for frames",
        "a control for frames in the form",
        "a control for hires in the form",
        "image among what it takes",
        "a control for image in the form",
        "a key for frames in farm/infotext/keys.py",
    ]


def test_a_mode_whose_spec_has_another_name_is_found() -> None:
    renamed = dataclasses.replace(MODES["txt2img"], spec=MODES["img2img"].spec)
    assert "the mode's name in its spec" in list(lacking(renamed))


def test_a_renderer_of_no_mode_is_found() -> None:
    assert RENDERS.keys() == MODES.keys()


def test_the_database_takes_every_mode(scene: Scene) -> None:
    check = scene.scalar("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'jobs_mode_check'")
    assert set(re.findall(r"'(\w+)'", check)) == set(MODES)


def test_a_spec_without_a_mode_is_of_the_usual_one() -> None:
    assert read_spec({"checkpoint": "demo", "prompt": "a fox", "seed": 1}).mode == USUAL_MODE


def test_every_part_that_a_mode_needs_is_a_picture() -> None:
    assert {name for mode in MODES.values() for name in mode.needs} == set(PICTURES)

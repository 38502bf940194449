"""What fills in the submit form: a check, a job, an image, and what this farm has to offer."""

import json
import re
from html import unescape
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from PIL.PngImagePlugin import PngInfo
from sqlalchemy import update
from werkzeug.test import TestResponse

from farm.db.connection import Database
from farm.db.tables.weights import Checkpoint
from farm.infotext import infotext
from farm.spec.image import AddonRef
from farm.weights import addons
from farm.weights.addons import StoredAddon
from tests.factories import Scene, a_spec
from tests.pictures import a_picture, encoded
from tests.web.portal.submit.forms import a_file, first_spec, key_of, marked, no_jobs, send, value_of


class TestChecking:
    def test_a_check_shows_what_a_submit_would_do_and_stores_nothing(self, client: FlaskClient) -> None:
        answer = send(client, "txt2img", action="check", images_per_prompt="7", prompts="a (fox")
        assert answer.status_code == 200
        assert "7 images" in answer.text
        assert "No worker serves the pool" in unescape(answer.text)
        assert "bracket" in answer.text
        assert no_jobs(client)

    def test_a_check_says_when_the_job_would_start(self, client: FlaskClient, scene: Scene) -> None:
        scene.worker()
        scene.execute("INSERT INTO plans (pool, figures) VALUES ('default', '{\"devices\": 1, \"idle\": 1}')")
        assert "Submitted now, it starts in" in send(client, "txt2img", action="check").text

    def test_a_checked_form_can_be_submitted(self, client: FlaskClient) -> None:
        page = send(client, "img2img", action="check", image_file=a_file()).text
        key, image = key_of(page), value_of(page, "image")
        assert send(client, "img2img", image=image, idempotency_key=key).status_code == 303

    def test_a_check_marks_mistakes(self, client: FlaskClient) -> None:
        assert "seed" in marked(send(client, "txt2img", action="check", seed="many").text)


class TestAgain:
    def test_a_job_fills_the_form_with_all_that_it_asked_for(self, client: FlaskClient, scene: Scene) -> None:
        job_id = scene.submit(
            prompts=["a fox", "a hare"],
            guidance_scale=6.5,
            hires={"scale": 2},
            axes=[{"field": "prompt_replace", "values": ["a", "one, two"]}, {"field": "seed", "values": [3, 4]}],
            combine="zip",
            deterministic=True,
            name="again",
        )
        page = client.get(f"/submit?from={job_id}").text
        assert "a fox\na hare</textarea>" in page
        values = {name: value_of(page, name) for name in ("guidance_scale", "hires.scale", "x.values", "name")}
        assert values == {
            "guidance_scale": "6.5",
            "hires.scale": "2",
            "x.values": 'a,"one, two"',
            "name": "again",
        }

    def test_a_form_filled_from_a_job_makes_the_same_images(self, client: FlaskClient) -> None:
        send(client, "inpaint", image_file=a_file(), mask_file=a_file(), padding="48", clip_skip="2")
        page = client.get("/submit?from=1").text
        names = ("image", "mask", "padding", "clip_skip", "mask_blur", "num_inference_steps", "seed")
        send(client, "inpaint", **{name: value_of(page, name) for name in names}, idempotency_key=key_of(page))
        assert client.get("/api/v1/jobs/2/tasks").json["tasks"][0]["spec"] == first_spec(client)

    def test_settings_that_the_form_cannot_hold_are_named(self, client: FlaskClient, scene: Scene) -> None:
        job_id = scene.submit(prompts=[{"prompt": "two\nlines", "width": 640}])
        page = client.get(f"/submit?from={job_id}").text
        assert "settings of their own" in page
        assert "Line breaks" in page
        assert "two lines</textarea>" in page

    @pytest.mark.parametrize("job", ["99", "-1", str(10**30)])
    def test_an_unknown_job_is_not_found(self, client: FlaskClient, job: str) -> None:
        assert client.get(f"/submit?from={job}").status_code == 404


class TestFromAnImage:
    def test_an_image_fills_the_form_with_what_made_it(self, client: FlaskClient) -> None:
        text = "a fox\nNegative prompt: blur\nSteps: 33, Sampler: Heun, Schedule type: Karras, CFG scale: 4.5, "
        answer = read(client, f"{text}Seed: 77, Size: 640x512, Model hash: aaaaaaaaaa, Model: elsewhere")
        assert answer.status_code == 200
        names = ("num_inference_steps", "guidance_scale", "seed", "width")
        assert [value_of(answer.text, name) for name in names] == ["33", "4.5", "77", "640"]
        assert "a fox</textarea>" in answer.text
        assert '<option value="demo" selected>' in answer.text
        assert "another" in answer.text

    def test_weights_that_differ_from_the_images_are_warned_of(self, client: FlaskClient) -> None:
        image = infotext(a_spec(embeddings=(AddonRef(name="easy", sha256="c" * 64),)), "b" * 64)
        page = unescape(read(client, image).text)
        assert "'demo' is another checkpoint here: its hash is aaaaaaaaaa, the image's was bbbbbbbbbb" in page
        assert "there is no embedding 'easy' here" in page

    def test_a_lora_of_another_tool_that_differs_here_is_warned_of(
        self, client: FlaskClient, database: Database
    ) -> None:
        with database.begin() as session:
            addons.add(session, "lora", "ink", StoredAddon("sd15", "c" * 64, 5, source_hashes=("d" * 64, "e" * 64)))
        page = unescape(read(client, 'a <lora:ink:1>\nSteps: 3, Seed: 1, Lora hashes: "ink: 111111111111"').text)
        assert "'ink' is another LoRA here: its hash is eeeeeeeeee, the image's was 1111111111" in page

    def test_an_image_of_another_tool_fills_the_form(self, client: FlaskClient) -> None:
        said = {"prompt": "a fox", "seed": 77, "steps": 33, "cfgscale": 4.5, "sampler": "euler", "model": "demo"}
        page = unescape(read(client, json.dumps({"sui_image_params": said})).text)
        assert value_of(page, "num_inference_steps") == "33"
        assert "a fox</textarea>" in page
        assert "it was made by SwarmUI" in page

    def test_invalid_settings_of_an_image_are_left_out_and_named(self, client: FlaskClient) -> None:
        page = unescape(read(client, "a fox\nSteps: 33, Sampler: DPM fast, Seed: 1, Size: 500x512").text)
        assert "left out: width must be a multiple of 8" in page
        assert "left out: sampler" in page
        assert value_of(page, "num_inference_steps") == "33"

    def test_a_picture_that_an_image_names_need_not_be_here(self, client: FlaskClient) -> None:
        for name in ("0" * 64, "nowhere"):
            said = f"a fox\nSteps: 3, Seed: 1, Mode: img2img, Init image hash: {name}, Version: diffusion-farm 1"
            answer = read(client, said)
            assert answer.status_code == 200
            assert value_of(answer.text, "mode") == "img2img"
            assert "/files/inputs/" not in answer.text

    def test_an_image_without_settings_leaves_the_form_as_it_was(self, client: FlaskClient) -> None:
        answer = send(client, "txt2img", action="read", read_file=a_file(), prompts="my own words")
        assert marked(answer.text) == {"read_file": "it holds no parameters text"}
        assert "my own words</textarea>" in answer.text

    @pytest.mark.parametrize("files", [{}, {"read_file": (BytesIO(b"GIF89a"), "x.gif")}])
    def test_a_file_that_is_no_image_is_refused(self, client: FlaskClient, files: dict[str, Any]) -> None:
        assert marked(send(client, "txt2img", action="read", **files).text).keys() == {"read_file"}


def read(client: FlaskClient, text: str) -> TestResponse:
    """Send an image with this text to be read."""
    described = PngInfo()
    described.add_text("parameters", text)
    content = encoded(a_picture(), pnginfo=described)
    return send(client, "txt2img", action="read", read_file=(BytesIO(content), "image.png"))


class TestChoices:
    def test_the_page_knows_what_suits_each_checkpoint(self, client: FlaskClient, database: Database) -> None:
        suggestions = {"sampler": "Euler a", "trigger_words": ["</script>"], "licence": {"name": "MIT"}}
        with database.begin() as session:
            session.execute(update(Checkpoint).values(suggestions=suggestions, note="Draws <b>shapes</b>."))
        page = client.get("/submit").text
        block = re.search(r'<script type="application/json" id="choices">(.*?)</script>', page, re.DOTALL)
        assert block is not None
        told = {"side": 512, "suggestions": suggestions, "note": "Draws <b>shapes</b>."}
        assert json.loads(block[1])["checkpoints"]["demo"] == told

    def test_registered_addons_are_offered(self, client: FlaskClient, database: Database) -> None:
        with database.begin() as session:
            for kind in addons.KINDS:
                addons.add(session, kind, f"my-{kind}", StoredAddon("sd15", "c" * 64, 5))
        page = client.get("/submit").text
        assert '<option value="my-vae"' in page
        assert '<option value="lora:my-lora"' in page
        assert "&lt;lora:my-lora:1&gt;" in page
        assert "my-embedding" in page

    def test_a_name_that_is_not_offered_any_more_is_refused_and_not_swapped(self, client: FlaskClient) -> None:
        page = send(client, "txt2img", vae="gone").text
        assert "<option selected>gone</option>" in page
        assert "unknown VAE 'gone'" in marked(page)["vae"]

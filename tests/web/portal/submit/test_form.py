"""The form that submits jobs: every mode, and what is wrong beside its field."""

import re
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from farm.db.connection import Database
from farm.intake import snippets
from farm.prompts.styles import PromptStyle
from farm.spec.modes import MODES
from tests.web.conftest import OpenPortal
from tests.web.portal.submit.forms import a_file, first_spec, key_of, marked, no_jobs, send, value_of

FORM = {
    "prompts": "a lighthouse\n\n  a harbour  \n",
    "checkpoint": "demo",
    "sampler": "Euler a",
    "num_inference_steps": "12",
    "guidance_scale": "6.5",
    "width": "512",
    "height": "512",
    "seed": "5",
    "images_per_prompt": "2",
    "priority": "60",
    "idempotency_key": "0123456789abcdef",
}


@pytest.mark.parametrize("mode", MODES)
def test_each_field_of_a_form_has_a_label(client: FlaskClient, mode: str) -> None:
    labels = re.findall(r'<label for="([^"]+)">\s*([^<\s]?)', client.get(f"/submit?mode={mode}").text)
    assert len(labels) > 20
    assert [name for name, first in labels if not first] == []


def test_a_form_becomes_a_job_and_leads_to_its_page(client: FlaskClient) -> None:
    answer = client.post("/submit", data=FORM)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/jobs/1")
    tasks = client.get("/api/v1/jobs/1/tasks").json["tasks"]
    assert [(task["spec"]["prompt"], task["spec"]["seed"]) for task in tasks] == [
        ("a lighthouse", 5),
        ("a lighthouse", 6),
        ("a harbour", 5),
        ("a harbour", 6),
    ]


def test_a_form_with_its_options_left_empty_is_fine(client: FlaskClient) -> None:
    answer = client.post("/submit", data={"prompts": "x", "seed": "", "name": "", "checkpoint": ""})
    assert answer.status_code == 303


def test_a_form_says_how_soon_a_job_is_wanted_and_on_how_many_devices(
    client: FlaskClient, database: Database
) -> None:
    client.post("/submit", data={**FORM, "class": "bulk", "max_devices": "2"})
    with database.begin() as session:
        assert session.execute(text("SELECT class, max_devices FROM counters")).all() == [("bulk", 2)]
    page = client.get("/jobs/1").text
    assert "<dt>Class</dt><dd>bulk</dd>" in page
    assert "<dt>Most devices</dt><dd>2 at a time</dd>" in page
    again = client.get("/submit?from=1").text
    assert '<option value="bulk" selected>' in again
    assert value_of(again, "max_devices") == "2"


def test_a_form_sent_twice_makes_one_job(client: FlaskClient) -> None:
    first, second = (client.post("/submit", data=FORM) for _ in range(2))
    assert first.headers["Location"] == second.headers["Location"]
    assert len(client.get("/api/v1/jobs").json["jobs"]) == 1


def test_a_form_changed_after_it_was_sent_is_asked_about_and_then_makes_a_second_job(client: FlaskClient) -> None:
    client.post("/submit", data=FORM)
    answer = client.post("/submit", data={**FORM, "seed": "6"})
    assert answer.status_code == 409
    again = client.post("/submit", data={**FORM, "seed": "6", "idempotency_key": key_of(answer.text)})
    assert again.headers["Location"] == "/jobs/2"


def test_each_form_has_its_own_key(client: FlaskClient) -> None:
    assert key_of(client.get("/submit").text) != key_of(client.get("/submit").text)


def test_a_bad_form_is_shown_again_with_what_was_entered_and_what_is_wrong(client: FlaskClient) -> None:
    answer = client.post("/submit", data={**FORM, "width": "513", "num_inference_steps": "many"})
    assert answer.status_code == 422
    assert 'value="513"' in answer.text
    assert 'id="width-problem-1">must be a multiple of 8' in answer.text
    assert 'id="num_inference_steps-problem-1">' in answer.text
    assert client.get("/api/v1/jobs").json["jobs"] == []


@pytest.mark.parametrize(
    ("change", "mark"),
    [
        ({"prompts": " \n "}, "prompts-problem-1"),
        ({"prompts": "fine\n" + "x" * 10_001}, 'prompts-problem-1">prompt 2: '),
        ({"sampler": "LCM", "num_inference_steps": "60"}, "num_inference_steps-problem-1"),
        ({"checkpoint": "nowhere"}, "checkpoint-problem-1"),
        ({"seed": "-2"}, "seed-problem-1"),
        ({"guidance_scale": "nan"}, "guidance_scale-problem-1"),
        ({"priority": "101"}, "priority-problem-1"),
        ({"class": "urgent"}, "class-problem-1"),
        ({"max_devices": "0"}, "max_devices-problem-1"),
        ({"deadline": "2001-01-01T00:00"}, "deadline-problem-1"),
        ({"pool": "No Such!"}, "pool-problem-1"),
        ({"styles": "nothing"}, "styles-problem-1"),
        ({"schedule_type": "Uniform", "sampler": "LCM"}, "schedule_type-problem-1"),
        ({"name": "x" * 201}, "name-problem-1"),
        ({"images_per_prompt": "10001"}, "images_per_prompt-problem-1"),
    ],
)
def test_each_mistake_is_marked_at_its_field(client: FlaskClient, change: dict[str, str], mark: str) -> None:
    answer = client.post("/submit", data={**FORM, **change})
    assert answer.status_code == 422
    assert mark in answer.text
    assert client.get("/api/v1/jobs").json["jobs"] == []


class TestModes:
    @pytest.mark.parametrize(
        ("mode", "fields", "spec"),
        [
            ("txt2img", {"hires.scale": "1.5"}, {"width": 512, "hires": {"scale": 1.5, "upscaler": "Latent"}}),
            ("img2img", {"strength": "0.4", "resize_mode": "crop"}, {"width": 96, "strength": 0.4}),
            ("inpaint", {"area": "masked", "invert_mask": "on"}, {"input_size": [96, 64], "invert_mask": True}),
            ("outpaint", {"left": "32"}, {"left": 32, "width": 128, "mask_blur": 16}),
            ("upscale", {"scale": "3", "prompts": ""}, {"width": 288, "height": 192, "prompt": ""}),
        ],
    )
    def test_each_mode_can_be_submitted(
        self, client: FlaskClient, mode: str, fields: dict[str, str], spec: dict[str, Any]
    ) -> None:
        answer = send(client, mode, image_file=a_file(), mask_file=a_file(), **fields)
        assert (answer.status_code, marked(answer.text)) == (303, {})
        found = first_spec(client)
        assert found["mode"] == mode
        wanted = {name: found[name] for name in spec}
        assert wanted | {"hires": spec.get("hires")} == spec | {"hires": _few(found.get("hires"))}

    @pytest.mark.parametrize("mode", MODES)
    def test_the_form_of_each_mode_is_valid_once_its_inputs_are_given(self, client: FlaskClient, mode: str) -> None:
        page = client.get(f"/submit?mode={mode}").text
        values = dict(re.findall(r'<input id="([^"]+)" name="\1"[^>]*value="([^"]*)"', page))
        sides = {"left": "8"} if mode == "outpaint" else {}
        answer = send(client, mode, image_file=a_file(), mask_file=a_file(), **(values | sides))
        assert (answer.status_code, marked(answer.text)) == (303, {})

    def test_a_mode_shows_the_fields_that_it_takes_alone(self, client: FlaskClient) -> None:
        page = client.get("/submit?mode=outpaint").text
        assert 'name="aspect"' in page
        assert 'name="width"' not in page
        assert "multipart/form-data" in page

    def test_an_unknown_mode_shows_the_first_one(self, client: FlaskClient) -> None:
        assert 'name="mode" value="txt2img"' in client.get("/submit?mode=video").text

    def test_another_mode_keeps_what_was_filled_in(self, client: FlaskClient) -> None:
        answer = send(
            client, "img2img", switch="inpaint", image_file=a_file(), num_inference_steps="33", prompts=""
        )
        assert (answer.status_code, marked(answer.text)) == (200, {})
        assert value_of(answer.text, "mode") == "inpaint"
        assert value_of(answer.text, "num_inference_steps") == "33"
        assert len(value_of(answer.text, "image")) == 64
        assert no_jobs(client)

    def test_a_bad_picture_is_marked_when_the_mode_is_switched(self, client: FlaskClient) -> None:
        page = send(client, "img2img", switch="inpaint", image_file=(BytesIO(b"x"), "x.png")).text
        assert marked(page).keys() == {"image"}

    def test_another_mode_has_its_own_default_values(self, client: FlaskClient) -> None:
        page = send(client, "img2img", switch="upscale", strength="0.75").text
        assert value_of(page, "strength") == "0.3"


def _few(hires: dict[str, Any] | None) -> dict[str, Any] | None:
    return hires and {name: hires[name] for name in ("scale", "upscaler")}


class TestPictures:
    def test_a_picture_survives_a_mistake_elsewhere(self, client: FlaskClient) -> None:
        refused = send(client, "img2img", image_file=a_file(), num_inference_steps="0")
        assert refused.status_code == 422
        image = value_of(refused.text, "image")
        assert f"/files/inputs/{image}.png" in refused.text
        assert send(client, "img2img", image=image).status_code == 303
        assert first_spec(client)["image"] == image

    def test_another_picture_takes_the_place_of_the_first(self, client: FlaskClient) -> None:
        first = value_of(send(client, "img2img", image_file=a_file(), action="check").text, "image")
        send(client, "img2img", image=first, image_file=a_file(72, 72))
        assert first_spec(client)["image"] != first

    def test_a_form_with_a_picture_sent_twice_makes_one_job(self, client: FlaskClient) -> None:
        first, second = (send(client, "img2img", image_file=a_file()) for _ in range(2))
        assert first.headers["Location"] == second.headers["Location"]
        assert len(client.get("/api/v1/jobs").json["jobs"]) == 1

    @pytest.mark.parametrize("content", [b"", b"no picture", b"<svg xmlns='http://www.w3.org/2000/svg'/>"])
    def test_a_file_that_is_no_picture_is_refused_at_its_field(self, client: FlaskClient, content: bytes) -> None:
        answer = send(client, "inpaint", image_file=a_file(), mask_file=(BytesIO(content), "mask.png"))
        assert answer.status_code == 422
        assert "mask" in marked(answer.text)
        assert no_jobs(client)

    def test_a_missing_picture_is_marked_if_the_mode_needs_one(self, client: FlaskClient) -> None:
        assert marked(send(client, "inpaint").text) == {"image": "inpaint needs one", "mask": "inpaint needs one"}

    @pytest.mark.parametrize(
        "image", ["0" * 64, "x", "\x00", "data:image/png;base64,AAAA", "https://example.org/x"]
    )
    def test_an_unknown_upload_is_asked_for_again(self, client: FlaskClient, image: str) -> None:
        answer = send(client, "img2img", image=image)
        assert answer.status_code == 422
        assert "image" in marked(answer.text)

    def test_a_picture_larger_than_the_farm_takes_is_refused_at_its_field(self, open_portal: OpenPortal) -> None:
        portal = open_portal(max_upload_bytes=1024)
        answer = send(portal, "img2img", image_file=(BytesIO(b"x" * 1025), "x.png"))
        assert "1,024 bytes" in marked(answer.text)["image"]


class TestSweeps:
    def test_axes_are_written_as_in_the_webui(self, client: FlaskClient) -> None:
        fields = {
            "x.field": "num_inference_steps",
            "x.values": "10-30 (+10)",
            "z.field": "sampler",
            "z.values": "Euler, Heun",
        }
        assert send(client, "txt2img", **fields).status_code == 303
        specs = [task["spec"] for task in client.get("/api/v1/jobs/1/tasks").json["tasks"]]
        assert len(specs) == 6
        assert {(spec["num_inference_steps"], spec["sampler"]) for spec in specs} >= {(10, "Euler"), (30, "Heun")}

    @pytest.mark.parametrize(
        ("axis", "values", "marks"),
        [
            ("num_inference_steps", "10, x", {"y.values": "'x' is not a whole number or a range like 1-4"}),
            ("num_inference_steps", "", {"y.values": "give values, separated by commas"}),
            ("", "1-4", {"y.field": "choose the field for these values"}),
            ("size", "512x512, wide", {"y.values": "'wide' is not a size such as 512x768"}),
            ("clip_skip", "1, 2, 13", {"y.values": "13: input should be less than or equal to 12"}),
            ("video", "1", {"y.field": None}),
        ],
    )
    def test_a_mistake_in_an_axis_is_marked_at_that_axis(
        self, client: FlaskClient, axis: str, values: str, marks: dict[str, str | None]
    ) -> None:
        answer = send(client, "txt2img", **{"y.field": axis, "y.values": values})
        assert answer.status_code == 422
        found = marked(answer.text)
        assert found.keys() == marks.keys()
        assert all(text in (None, found[name]) for name, text in marks.items())

    def test_each_axis_has_its_own_mistakes(self, client: FlaskClient) -> None:
        axes = {"x.field": "seed", "x.values": "one", "z.field": "clip_skip", "z.values": "13"}
        assert marked(send(client, "txt2img", **axes).text).keys() == {"x.values"}
        axes |= {"z.field": "video"}
        assert marked(send(client, "txt2img", **axes).text).keys() == {"x.values", "z.field"}

    def test_a_mistake_of_all_axes_together_is_marked_among_them(self, client: FlaskClient) -> None:
        axes = {f"{n}.field": "seed" for n in "xz"} | {f"{n}.values": "1-2" for n in "xz"}
        assert marked(send(client, "txt2img", **axes).text)["axes"] == "each must sweep a field of its own"

    def test_hires_settings_without_a_target_are_marked(self, client: FlaskClient) -> None:
        answer = send(client, "txt2img", **{"hires.num_inference_steps": "5"})
        assert marked(answer.text) == {"hires.scale": "give a scale, or a width and a height"}

    def test_styles_are_applied_in_the_order_of_the_list(self, client: FlaskClient, database: Database) -> None:
        with database.begin() as session:
            snippets.put_styles(
                session, [PromptStyle("ink", "{prompt}, ink", ""), PromptStyle("old", "{prompt}, old", "")]
            )
        send(client, "txt2img", styles=["ink", "old"])
        assert first_spec(client)["prompt"] == "a fox, ink, old"


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "video"},
        {"mode": "\x00", "checkpoint": "\x00", "vae": "\x00", "styles": "\x00", "pool": "\x00", "name": "\x00"},
        {"image": "f" * 64, "mask": "\ud7ff", "switch": "video", "action": "dance"},
        {
            "x.field": "lora:\x00",
            "x.values": '"',
            "y.field": "seed",
            "y.values": "1-999999",
        },
        {"x.field": "guidance_scale", "x.values": "1-" + "9" * 400},
        {"x.field": "seed", "x.values": "\u0663-\u0664 [\u0669]"},
        {"hires.scale": "nan", "hires.width": "-1", "strength": "inf", "quality": "1e99", "not_before": "T"},
        {"dynamic_prompts": "all", "prompts": "{a|b" * 60},
    ],
)
@pytest.mark.parametrize("mode", ["txt2img", "inpaint"])
def test_garbage_is_refused_and_breaks_nothing(client: FlaskClient, mode: str, fields: dict[str, str]) -> None:
    assert send(client, mode, **fields).status_code in (303, 422) or no_jobs(client)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", "multipart/form-data"),
        (b"--x\r\nno head", "multipart/form-data; boundary=x"),
        (
            b"--x\r\nContent-Disposition: form-data; name=prompts; filename=a\r\n\r\nx\r\n--x--",
            "multipart/form-data; boundary=x",
        ),
        (b"{}", "application/json"),
    ],
)
def test_a_body_that_is_no_form_breaks_nothing(client: FlaskClient, body: bytes, content_type: str) -> None:
    assert client.post("/submit", data=body, content_type=content_type).status_code == 422


def test_a_form_in_parts_may_not_have_countless_fields(client: FlaskClient) -> None:
    assert send(client, "txt2img", **{f"field{number}": "x" for number in range(101)}).status_code == 413


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('--prompt "a fox" --steps 20\nprompt,steps\na fox,20', ["line 1 begins", "line 2 looks like a table"]),
        ('an owl\n{"prompt": "a fox"}', ["line 2 looks like JSON lines"]),
        ("- prompt: a fox\n  steps: 8", ["line 1 looks like YAML"]),
    ],
)
def test_pasted_lines_of_a_file_are_refused_by_line(client: FlaskClient, text: str, lines: list[str]) -> None:
    answer = client.post("/submit", data={**FORM, "prompts": text})
    assert (answer.status_code, no_jobs(client)) == (422, True)
    assert marked(answer.text)["prompts"].startswith(lines[0])
    assert all(line in answer.text for line in lines)

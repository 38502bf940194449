"""Sending pictures: whatever comes, it is kept as a clean PNG or refused in words."""

import random
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from farm.client import Client
from farm.config import Settings
from farm.errors import InvalidRequest
from farm.pictures import decoderpool
from farm.store.protocol import Store
from tests.pictures import FORMATS, a_doubtful_mask, a_picture, busy_decoders, decoded, encoded
from tests.web.conftest import OpenPortal
from tests.web.guard.test_limits import declare

UPLOADS = "/api/v1/uploads"
PICTURE = encoded(a_picture())
MUTATIONS_PER_FORMAT = 60


def send(client: FlaskClient, content: bytes, media_type: str = "image/png", role: str = "input") -> TestResponse:
    return client.post(f"{UPLOADS}?role={role}", data=content, content_type=media_type)


def send_form(client: FlaskClient, **files: tuple[BytesIO, str]) -> TestResponse:
    return client.post(UPLOADS, data=files, content_type="multipart/form-data")


class TestSending:
    def test_a_picture_is_kept_and_described(self, client: FlaskClient, store: Store) -> None:
        answer = send(client, PICTURE)
        upload = answer.json
        content = store.get(f"inputs/{upload['id']}.png")
        assert answer.status_code == 201
        assert (upload["width"], upload["height"], upload["role"]) == (48, 32, "input")
        assert (upload["media_type"], upload["size_bytes"]) == ("image/png", len(content))
        assert decoded(content).tobytes() == a_picture().tobytes()

    def test_sending_a_picture_again_gives_the_same_upload(self, client: FlaskClient) -> None:
        first, again = send(client, PICTURE), send(client, encoded(a_picture(), "BMP"), "image/bmp")
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json["id"] == again.json["id"]

    def test_a_mask_is_kept_in_grey(self, client: FlaskClient, store: Store) -> None:
        upload = send(client, PICTURE, role="mask").json
        assert upload["role"] == "mask"
        assert decoded(store.get(f"inputs/{upload['id']}.png")).mode == "L"

    def test_an_ambiguous_mask_is_answered_with_a_note_on_how_it_was_read(self, client: FlaskClient) -> None:
        assert send(client, PICTURE, role="mask").json["note"] is None
        assert "by its brightness" in send(client, a_doubtful_mask(), role="mask").json["note"]

    @pytest.mark.parametrize("media_type", ["image/webp", "image/x-whatever", "application/octet-stream", None])
    def test_the_media_type_that_a_sender_gives_does_not_matter(
        self, client: FlaskClient, media_type: str | None
    ) -> None:
        assert client.post(UPLOADS, data=PICTURE, content_type=media_type).status_code == 201

    def test_a_form_may_carry_a_picture(self, client: FlaskClient) -> None:
        answer = send_form(client, file=(BytesIO(PICTURE), "../../a picture.png"))
        assert (answer.status_code, answer.json["width"]) == (201, 48)

    def test_a_picture_that_comes_in_chunks_is_kept(self, client: FlaskClient) -> None:
        chunked = {"Transfer-Encoding": "chunked", "Content-Type": "image/png"}
        terminated = {"wsgi.input_terminated": True}
        stream = BytesIO(PICTURE)
        answer = client.post(UPLOADS, input_stream=stream, headers=chunked, environ_overrides=terminated)
        assert answer.status_code == 201

    def test_an_upload_is_shown_at_its_location(self, client: FlaskClient) -> None:
        sent = send(client, PICTURE)
        shown = client.get(sent.headers["Location"]).json
        assert shown == sent.json
        with client.get(shown["url"]) as link:
            assert (link.mimetype, decoded(link.data).size) == ("image/png", (48, 32))


class TestRefusals:
    def refusal(self, answer: TestResponse, status: int = 422) -> str:
        assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
        if status != 422:
            return str(answer.json["detail"])
        [problem] = answer.json["errors"]
        return f"{problem['field']}: {problem['message']}"

    def test_a_file_that_is_no_picture_is_refused(self, client: FlaskClient, store: Store) -> None:
        assert "file: is not a picture" in self.refusal(send(client, b"<svg/>", "image/svg+xml"))
        assert list(store.keys()) == []

    def test_an_empty_body_is_refused(self, client: FlaskClient) -> None:
        assert self.refusal(send(client, b"")) == "file: is empty"

    def test_a_form_without_the_field_is_refused_with_its_name(self, client: FlaskClient) -> None:
        assert "`file`" in self.refusal(send_form(client, picture=(BytesIO(PICTURE), "a.png")))

    @pytest.mark.parametrize("body", [b"", b"--x", b"--x\r\n\r\n", b"\r\n--x--\r\n" * 9])
    def test_a_broken_form_is_refused(self, client: FlaskClient, body: bytes) -> None:
        assert "file: is missing" in self.refusal(send(client, body, "multipart/form-data; boundary=x"))

    def test_a_form_of_countless_parts_is_refused(self, client: FlaskClient) -> None:
        body = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 101 + b"--x--\r\n"
        assert send(client, body, "multipart/form-data; boundary=x").status_code == 413

    @pytest.mark.parametrize("media_type", ["application/json", "text/html", "application/x-www-form-urlencoded"])
    def test_a_body_of_another_media_type_is_refused(self, client: FlaskClient, media_type: str) -> None:
        assert "multipart/form-data" in self.refusal(send(client, PICTURE, media_type), 415)

    def test_an_unknown_role_is_refused(self, client: FlaskClient) -> None:
        assert "role" in self.refusal(send(client, PICTURE, role="result"))

    def test_too_many_bytes_are_refused_unread(self, open_portal: OpenPortal) -> None:
        answer = declare(open_portal(max_upload_bytes=100_000), UPLOADS, 100_001)
        assert "100,000 bytes" in self.refusal(answer, 413)

    def test_too_many_pixels_are_refused(self, open_portal: OpenPortal) -> None:
        answer = send(open_portal(max_upload_pixels=48 * 32 - 1), PICTURE)
        assert "too many pixels of 48 x 32" in self.refusal(answer)

    @pytest.mark.parametrize(("digest", "status"), [("f" * 64, 404), ("F" * 64, 422), ("1", 422)])
    def test_an_unknown_upload_is_not_found(self, client: FlaskClient, digest: str, status: int) -> None:
        assert client.get(f"{UPLOADS}/{digest}").status_code == status

    def test_a_page_of_another_site_cannot_send_a_picture(self, client: FlaskClient) -> None:
        form = {"file": (BytesIO(PICTURE), "a.png")}
        assert client.post(UPLOADS, data=form, headers={"Origin": "https://evil.example"}).status_code == 403


def test_a_sender_is_asked_to_come_back_while_too_many_pictures_are_decoded(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoderpool, "_MOST_WAITING_SECONDS", 0.05)
    with busy_decoders():
        answer = send(client, PICTURE)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.json["type"] == "urn:farm:problem:busy"


def test_the_client_sends_files(open_portal: OpenPortal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    portal = open_portal()
    transport = httpx.WSGITransport(app=portal.application)
    with Client("http://127.0.0.1") as client:
        monkeypatch.setattr(client, "_http", httpx.Client(transport=transport))
        picture, page = tmp_path / "a.jpg", tmp_path / "a.html"
        picture.write_bytes(encoded(a_picture(), "JPEG"))
        page.write_text("<html>")
        upload = client.upload(picture, "mask")
        assert (upload.width, upload.height, upload.role) == (48, 32, "mask")
        with pytest.raises(InvalidRequest, match="file: is not a picture"):
            client.upload(page)


def cut(draw: random.Random, content: bytes) -> bytes:
    return content[: draw.randrange(len(content))]


def flip(draw: random.Random, content: bytes) -> bytes:
    """A few bits, most of them near the beginning, where the structure is."""
    flipped = bytearray(content)
    for _ in range(draw.randint(1, 12)):
        place = int(len(flipped) * draw.random() ** 3)
        flipped[place] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def splice(draw: random.Random, content: bytes) -> bytes:
    """A piece of it in another place, or of another file."""
    start, place = draw.randrange(len(content)), draw.randrange(len(content))
    other = draw.choice([content, *SAMPLES])
    return content[:place] + other[start : start + draw.randint(1, 400)] + content[place:]


def lie(draw: random.Random, content: bytes) -> bytes:
    """A length or a size that is not so: two or four bytes with an extreme value."""
    size = draw.choice([2, 4])
    place = draw.randrange(min(200, len(content) - size))
    value = draw.choice([0, 1, 2**7, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]) % 2 ** (8 * size)
    order = draw.choice(["big", "little"])
    return content[:place] + value.to_bytes(size, order) + content[place + size :]


def drop(draw: random.Random, content: bytes) -> bytes:
    start = draw.randrange(len(content))
    return content[:start] + content[start + draw.randint(1, 60) :]


SAMPLES = [
    *(encoded(a_picture(), format) for format in FORMATS),
    *(encoded(a_picture().convert("RGBA"), format) for format in ("PNG", "WEBP", "AVIF")),
    encoded(a_picture().quantize(8), "PNG", transparency=1),
    encoded(a_picture().convert("CMYK"), "JPEG", progressive=True),
    encoded(a_picture(), "WEBP", lossless=True),
    *(
        encoded(a_picture(), format, save_all=True, append_images=[a_picture(colour="gold")])
        for format in ("PNG", "GIF", "WEBP", "AVIF", "MPO")
    ),
]
WAYS: tuple[Callable[[random.Random, bytes], bytes], ...] = (cut, flip, flip, splice, lie, lie, drop)


@pytest.mark.parametrize("sample", range(len(SAMPLES)))
def test_no_broken_picture_breaks_the_portal(
    open_portal: OpenPortal, store: Store, settings: Settings, sample: int
) -> None:
    """What is taken is a clean PNG within the limits, and what is not is refused as the client's mistake."""
    portal = open_portal(max_upload_pixels=10_000)
    draw = random.Random(sample)
    for number in range(MUTATIONS_PER_FORMAT):
        content = draw.choice(WAYS)(draw, SAMPLES[sample])
        answer = send(portal, content, role=draw.choice(["input", "mask"]))
        assert answer.status_code in (200, 201, 422), (sample, number, answer.text)
        if answer.status_code != 422:
            kept = decoded(store.get(f"inputs/{answer.json['id']}.png"))
            assert (kept.format, kept.size) == ("PNG", (answer.json["width"], answer.json["height"]))
            assert kept.width * kept.height <= 10_000

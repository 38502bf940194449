"""Images by signed links."""

import time
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from farm.db.connection import Database
from farm.store.protocol import Store
from tests.factories import Scene


@pytest.mark.parametrize(
    ("suffix", "media_type"),
    [("png", "image/png"), ("webp", "image/webp"), ("jpg", "image/jpeg"), ("avif", "image/avif")],
)
def test_a_signed_link_shows_its_object_and_may_be_cached(
    client: FlaskClient, store: Store, suffix: str, media_type: str
) -> None:
    store.put(f"results/1/2-1.{suffix}", b"pixels", media_type)
    answer = client.get(store.link(f"results/1/2-1.{suffix}", seconds=60))
    assert (answer.status_code, answer.data, answer.mimetype) == (200, b"pixels", media_type)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in answer.headers["Cache-Control"]
    assert "Content-Disposition" not in answer.headers or "attachment" not in answer.headers["Content-Disposition"]


def test_a_link_with_a_filename_is_saved_under_it(client: FlaskClient, store: Store) -> None:
    store.put("results/1.png", b"pixels", "image/png")
    answer = client.get(store.link("results/1.png", seconds=60, filename="7-00001-5.png"))
    assert answer.headers["Content-Disposition"] == "attachment; filename=7-00001-5.png"


@pytest.mark.parametrize(
    ("old", "new"),
    [("1.png", "2.png"), ("expires=", "expires=9"), ("signature=", "signature=A"), ("signature=", "sig="),
     ("signature=", "filename=x&signature="), ("signature=", "signature=%C3%A9")],
)  # fmt: skip
def test_a_link_that_was_changed_is_refused(client: FlaskClient, store: Store, old: str, new: str) -> None:
    for key in ("results/1.png", "results/2.png"):
        store.put(key, b"pixels", "image/png")
    link = store.link("results/1.png", seconds=60).replace(old, new)
    assert client.get(link).status_code == 403


def test_a_link_that_has_expired_is_refused(
    client: FlaskClient, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("results/1.png", b"pixels", "image/png")
    link = store.link("results/1.png", seconds=60)
    later = time.time() + 1300
    monkeypatch.setattr(time, "time", lambda: later)
    answer = client.get(link)
    assert answer.status_code == 403
    assert "expired" in answer.text


def test_a_link_without_a_signature_is_refused(client: FlaskClient, store: Store) -> None:
    store.put("results/1.png", b"pixels", "image/png")
    assert client.get("/files/results/1.png").status_code == 403
    assert client.get("/files/../secret").status_code in (403, 404)


def test_a_valid_link_to_a_deleted_object_is_not_found(client: FlaskClient, store: Store) -> None:
    store.put("results/other.png", b"here", "image/png")
    assert client.get(store.link("results/gone.png", seconds=60)).status_code == 404


HOSTILE = '../../etc/passwd"\r\nSet-Cookie: owned=1\x1b[2J\u202egnp.exe'


def test_the_name_of_a_job_enters_no_file_name(client: FlaskClient, scene: Scene, database: Database) -> None:
    fields = {"name": "../../etc/passwd", "project": "..", "prompts": [HOSTILE], "seed": 5}
    job_id = client.post("/api/v1/jobs", json=fields).json["id"]
    (lease,) = scene.claim(scene.worker())
    scene.publish(lease)
    (image,) = client.get(f"/api/v1/jobs/{job_id}/images").json["images"]
    assert image["filename"] == f"{job_id}-00000-5.png"
    assert image["url"].startswith(f"/files/result/{lease.task_id}-{lease.attempt}.png?")


@pytest.mark.parametrize("key", ["../outside.png", "results/../../outside.png", "results/\x00.png", ""])
def test_a_signed_link_cannot_leave_the_folder(client: FlaskClient, store: Store, tmp_path: Path, key: str) -> None:
    (tmp_path / "outside.png").write_bytes(b"not yours")
    assert client.get(store.link(key, seconds=60)).status_code == 404


def test_a_hostile_filename_stays_one_name_in_one_header(client: FlaskClient, store: Store) -> None:
    store.put("results/1.png", b"pixels", "image/png")
    answer = client.get(store.link("results/1.png", seconds=60, filename=HOSTILE))
    assert answer.headers["Content-Disposition"] == 'attachment; filename="passwd\\"Set-Cookie: owned=1[2Jgnp.exe"'
    assert "Set-Cookie" not in answer.headers

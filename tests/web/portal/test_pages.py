"""The pages."""

import html

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from farm.config import Settings
from farm.db.connection import Database
from farm.db.tables.weights import Checkpoint
from farm.pictures import uploads
from farm.pictures.clean import PictureRole
from farm.pictures.uploads import Desk
from farm.queue import endings
from farm.queue.doorbell import Doorbell
from farm.sheets.grids import draw_job
from farm.store.protocol import Store
from farm.weights import addons
from farm.weights.addons import StoredAddon
from tests.factories import Scene, a_checkpoint, a_job, a_worker, claim, publish
from tests.pictures import a_picture, encoded


def test_an_empty_farm_invites_to_submit(client: FlaskClient) -> None:
    page = client.get("/").text
    assert "Submit the first" in page
    assert "data-live" not in page


def test_text_of_users_is_escaped(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    nasty = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
    job = a_job(database, settings, doorbell, prompts=[nasty], name=nasty, negative_prompt=nasty)
    batch = claim(database, a_worker(database))
    assert batch is not None
    publish(database, batch.leases[0])
    for path in ("/", f"/jobs/{job.job_id}"):
        page = client.get(path).text
        assert nasty not in page
        assert "<script>alert" not in page
        assert html.escape("<img src=x") in page


def test_the_page_of_a_waiting_job_shows_the_reason_and_refreshes_itself(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    job = a_job(database, settings, doorbell)
    page = client.get(f"/jobs/{job.job_id}").text
    assert "No worker serves the pool" in page
    assert f'data-live="/jobs/{job.job_id}/live"' in page


def test_the_page_of_a_finished_job_shows_its_images_and_refreshes_no_more(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    job = a_job(database, settings, doorbell)
    batch = claim(database, a_worker(database))
    assert batch is not None
    publish(database, batch.leases[0])
    page = client.get(f"/jobs/{job.job_id}/live").text
    assert "/files/thumbnail/" in page
    assert "seed 1" in page
    assert "data-live" not in page


def test_the_list_shows_the_first_images_of_each_job(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    for _ in range(2):
        a_job(database, settings, doorbell, images_per_prompt=8)
    batch = claim(database, a_worker(database), limit=7)
    assert batch is not None
    for lease in batch.leases:
        publish(database, lease)
    assert client.get("/live").text.count("/files/thumbnail/") == 6


def test_the_list_has_pages(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    for number in range(21):
        a_job(database, settings, doorbell, name=f"number {number:02}")
    first = client.get("/").text
    assert "number 20" in first
    assert "number 00" not in first
    assert "number 00" in client.get("/?before=2").text


def test_failed_attempts_are_shown_with_their_error(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    job = a_job(database, settings, doorbell)
    batch = claim(database, a_worker(database))
    assert batch is not None
    with database.begin() as session:
        endings.fail(session, batch.leases[0], "out of memory", is_retryable=False)
    assert "out of memory" in client.get(f"/jobs/{job.job_id}").text


@pytest.mark.parametrize(("action", "status"), [("pause", "paused"), ("cancel", "cancelled")])
def test_a_button_does_what_it_says_and_leads_back(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell, action: str, status: str
) -> None:
    job = a_job(database, settings, doorbell)
    answer = client.post(f"/jobs/{job.job_id}/{action}")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/jobs/{job.job_id}")
    assert client.get(f"/api/v1/jobs/{job.job_id}").json["status"] == status


def test_a_button_pressed_too_late_is_answered_with_the_reason(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell
) -> None:
    job = a_job(database, settings, doorbell)
    client.post(f"/jobs/{job.job_id}/cancel")
    answer = client.post(f"/jobs/{job.job_id}/pause")
    assert answer.status_code == 409
    assert "cannot be paused" in answer.text


@pytest.mark.parametrize(("priority", "status"), [("70", 303), ("101", 422), ("high", 422), ("", 422)])
def test_a_priority_is_set_by_form(
    client: FlaskClient, database: Database, settings: Settings, doorbell: Doorbell, priority: str, status: int
) -> None:
    job = a_job(database, settings, doorbell)
    assert client.post(f"/jobs/{job.job_id}/priority", data={"priority": priority}).status_code == status


def test_workers_are_shown(client: FlaskClient, database: Database) -> None:
    assert "No worker has been here" in client.get("/workers").text
    a_worker(database)
    assert "host/cpu" in client.get("/workers").text


def test_all_that_a_worker_has_loaded_is_shown(client: FlaskClient, scene: Scene) -> None:
    first, second = (
        a_checkpoint(scene.database, name, sha256=mark * 64) for name, mark in (("one", "1"), ("two", "2"))
    )
    worker = scene.worker()
    scene.execute("UPDATE workers SET checkpoint_id = :id WHERE id = :worker", id=first, worker=worker)
    scene.execute("UPDATE workers SET residents = ARRAY[:one, :two]", one=first, two=second)
    assert "also loaded: two" in client.get("/workers").text
    [found] = client.get("/api/v1/workers").json["workers"]
    assert found["residents"] == ["one", "two"]


def test_a_farm_that_nobody_plans_says_so_on_the_page_of_workers(client: FlaskClient, scene: Scene) -> None:
    scene.execute("INSERT INTO plans (pool, planned_at) VALUES ('default', now() - interval '1 minute')")
    assert "no keeper leads" in client.get("/workers").text


@pytest.mark.parametrize("path", ["/jobs/99", "/jobs/99/live", f"/jobs/{2**63}", "/jobs/x"])
def test_an_unknown_job_has_no_page(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("query", ["before=x", "before=-5", f"before={10**30}"])
def test_a_strange_page_number_does_no_harm(client: FlaskClient, query: str) -> None:
    assert client.get(f"/?{query}").status_code == 200


def an_upload(scene: Scene, store: Store, role: PictureRole) -> str:
    """Keep a picture; return its id."""
    desk = Desk(scene.database, store, scene.settings)
    return uploads.keep(desk, encoded(a_picture(96, 64)), role=role).report.id


def test_a_job_shows_the_pictures_that_it_was_given(client: FlaskClient, scene: Scene, store: Store) -> None:
    image, mask = an_upload(scene, store, "input"), an_upload(scene, store, "mask")
    page = client.get(f"/jobs/{scene.submit(mode='inpaint', image=image, mask=mask)}").text
    assert f"/files/inputs/{image}.png" in page
    assert f"/files/inputs/{mask}.png" in page
    assert "96 \u00d7 64" in page


def test_a_job_shows_the_settings_of_its_mode(client: FlaskClient, scene: Scene) -> None:
    job_id = scene.submit(hires={"scale": 2, "upscaler": "Lanczos"}, clip_skip=2, schedule_type="Karras")
    page = client.get(f"/jobs/{job_id}").text
    for title, text in (
        ("Schedule type", "Karras"),
        ("Clip skip", "2"),
        ("Hires fix", "by 2 with Lanczos, strength 0.7"),
        ("Size of the file", "1024 \u00d7 1024"),
    ):
        assert f"<dt>{title}</dt><dd>{text}</dd>" in page


def test_a_job_shows_its_warnings(client: FlaskClient, scene: Scene) -> None:
    assert "1 bracket is never closed" in client.get(f"/jobs/{scene.submit(prompts=['a (fox'])}").text


def test_a_job_can_be_submitted_again(client: FlaskClient, scene: Scene) -> None:
    job_id = scene.submit()
    assert f'href="/submit?from={job_id}"' in client.get(f"/jobs/{job_id}").text


def test_the_page_of_a_sweep_refreshes_itself_until_its_grid_is_drawn(
    client: FlaskClient, scene: Scene, store: Store
) -> None:
    job_id = scene.submit(axes=[{"field": "num_inference_steps", "values": [10, 20]}])
    assert "Steps: 10, 20" in client.get(f"/jobs/{job_id}").text
    render(scene, store)
    waiting = client.get(f"/jobs/{job_id}/live").text
    assert "The grid is being drawn" in waiting
    assert "data-live" in waiting
    draw_job(scene.database, store, job_id)
    drawn = client.get(f"/jobs/{job_id}/live").text
    assert f"/files/grids/{job_id}/0-" in drawn
    assert "data-live" not in drawn


def render(scene: Scene, store: Store) -> None:
    """Render everything that waits."""
    worker_id = scene.worker()
    while leases := scene.claim(worker_id):
        for lease in leases:
            scene.publish(lease)
            store.put(f"result/{lease.task_id}-{lease.attempt}.png", encoded(a_picture()), "image/png")


def test_checkpoints_are_shown_with_what_suits_them(client: FlaskClient, database: Database) -> None:
    suggestions = {"sampler": "Euler a", "guidance_scale": 7.0, "licence": {"name": "MIT", "note": "Free."}}
    with database.begin() as session:
        session.execute(update(Checkpoint).values(suggestions=suggestions, note="a <b>note</b>"))
        addons.add(session, "lora", "my-lora", StoredAddon("sd15", "c" * 64, 2_500_000, trigger_words=("glow",)))
    page = client.get("/checkpoints").text
    assert "a &lt;b&gt;note&lt;/b&gt;" in page
    for text in ("demo", "a" * 10, "Euler a", "<dd>7</dd>", "Licence: MIT", "my-lora", "2.5 MB", "glow"):
        assert text in page

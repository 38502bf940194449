"""Draining workers and putting them back, over HTTP and on the page."""

import re

import pytest
from flask.testing import FlaskClient

from farm import accounts
from farm.queue.workers import fleet
from tests.factories import Scene, a_checkpoint
from tests.web.conftest import OpenPortal


@pytest.fixture
def torn(scene: Scene, client: FlaskClient) -> None:
    """A worker that is kept from the checkpoint `demo`."""
    scene.worker()
    scene.avoid("host/cpu", a_checkpoint(scene.database), "its weights are <torn>")


def buttons(page: str) -> list[str]:
    return re.findall(r"<button[^>]*>(\w[\w ]*)</button>", page)


class TestApi:
    def test_a_worker_is_drained_by_its_name(self, client: FlaskClient, scene: Scene) -> None:
        scene.worker()
        answer = client.post("/api/v1/workers/drain", json={"worker": "host/cpu", "reason": "a new fan"})
        assert answer.status_code == 200
        assert answer.json["worker"] == "host/cpu"
        [exclusion] = answer.json["exclusions"]
        assert (exclusion["checkpoint"], exclusion["reason"]) == (None, "drained by local: a new fan")

    def test_the_list_of_workers_shows_what_each_is_kept_from(self, client: FlaskClient, torn: None) -> None:
        [worker] = client.get("/api/v1/workers").json["workers"]
        [exclusion] = worker["exclusions"]
        assert (exclusion["checkpoint"], exclusion["reason"]) == ("demo", "its weights are <torn>")
        assert exclusion["since"]

    def test_a_worker_is_put_back(self, client: FlaskClient, scene: Scene) -> None:
        scene.worker()
        scene.drain()
        answer = client.post("/api/v1/workers/restore", json={"worker": "host/cpu"})
        assert (answer.status_code, answer.json) == (200, {"worker": "host/cpu", "exclusions": []})

    def test_a_single_checkpoint_is_given_back_to_a_worker(
        self, client: FlaskClient, scene: Scene, torn: None
    ) -> None:
        scene.drain()
        answer = client.post("/api/v1/workers/restore", json={"worker": "host/cpu", "checkpoint": "demo"})
        assert [exclusion["checkpoint"] for exclusion in answer.json["exclusions"]] == [None]

    @pytest.mark.parametrize("action", ["drain", "restore"])
    def test_an_unknown_worker_is_not_found(self, client: FlaskClient, scene: Scene, action: str) -> None:
        scene.worker()
        answer = client.post(f"/api/v1/workers/{action}", json={"worker": "host/gpu"})
        assert answer.status_code == 404
        assert answer.json["detail"] == "There is no worker 'host/gpu'. Known: host/cpu."

    @pytest.mark.parametrize("body", [{}, {"checkpoint": "demo"}])
    def test_a_worker_in_service_cannot_be_put_back(
        self, client: FlaskClient, scene: Scene, body: dict[str, str]
    ) -> None:
        scene.worker()
        assert client.post("/api/v1/workers/restore", json={"worker": "host/cpu", **body}).status_code == 409

    @pytest.mark.parametrize(
        "body", [{}, {"worker": ""}, {"worker": "a\0"}, {"worker": "x" * 201}, {"worker": "x", "why": "y"}]
    )
    @pytest.mark.parametrize("action", ["drain", "restore"])
    def test_a_malformed_request_is_refused(self, client: FlaskClient, action: str, body: dict[str, str]) -> None:
        assert client.post(f"/api/v1/workers/{action}", json=body).status_code == 422

    def test_a_drain_is_shown_with_the_user_who_asked_for_it(self, open_portal: OpenPortal, scene: Scene) -> None:
        with scene.database.begin() as session:
            key = accounts.add_user(session, "mia")
        scene.worker()
        headers = {"Authorization": f"Bearer {key}"}
        answer = open_portal(host="0.0.0.0").post(
            "/api/v1/workers/drain", json={"worker": "host/cpu"}, headers=headers
        )
        assert answer.json["exclusions"][0]["reason"] == "drained by mia"

    @pytest.mark.parametrize(("action", "statuses"), [("drain", {"404"}), ("restore", {"404", "409"})])
    def test_all_statuses_of_drain_and_restore_are_described(
        self, client: FlaskClient, action: str, statuses: set[str]
    ) -> None:
        described = client.get("/openapi.json").json["paths"][f"/api/v1/workers/{action}"]["post"]["responses"]
        assert statuses | {"200", "401", "422", "503"} <= described.keys()

    def test_the_statistics_count_the_workers_in_service(self, client: FlaskClient, scene: Scene) -> None:
        scene.worker("0")
        scene.worker("1")
        scene.drain("host/0")
        glance = client.get("/api/v1/stats").json
        assert (glance["workers_live"], glance["workers_in_service"]) == (2, 1)


class TestPage:
    def test_a_worker_has_a_button_that_drains_it(self, client: FlaskClient, scene: Scene) -> None:
        scene.worker()
        assert buttons(client.get("/workers/live").text) == ["Drain"]
        answer = client.post("/workers/drain", data={"worker": "host/cpu"})
        assert (answer.status_code, answer.headers["Location"]) == (303, "/workers")
        page = client.get("/workers").text
        assert "Drained by local" in page
        assert buttons(page) == ["Put back"]

    def test_a_worker_is_put_back_by_a_button(self, client: FlaskClient, scene: Scene) -> None:
        scene.worker()
        scene.drain()
        assert client.post("/workers/restore", data={"worker": "host/cpu"}).status_code == 303
        assert scene.excluded() == []

    def test_an_avoided_checkpoint_is_shown_with_its_reason(self, client: FlaskClient, torn: None) -> None:
        page = client.get("/workers").text
        assert "Kept from demo" in page
        assert "Its weights are &lt;torn&gt;" in page
        assert buttons(page) == ["Drain", "Clear"]

    def test_an_avoided_checkpoint_is_given_back_by_a_button(
        self, client: FlaskClient, scene: Scene, torn: None
    ) -> None:
        scene.drain()
        client.post("/workers/restore", data={"worker": "host/cpu", "checkpoint": "demo"})
        assert scene.excluded() == [("host/cpu", None)]

    def test_a_worker_that_started_again_shows_its_buttons_once(self, client: FlaskClient, scene: Scene) -> None:
        with scene.database.begin() as session:
            fleet.retire(session, scene.worker(), "the worker process died")
        scene.worker()
        scene.drain()
        page = client.get("/workers").text
        assert page.count("<td>host/cpu</td>") == 2
        assert buttons(page) == ["Put back"]

    def test_a_button_pressed_too_late_is_answered_with_the_reason(self, client: FlaskClient, scene: Scene) -> None:
        scene.worker()
        answer = client.post("/workers/restore", data={"worker": "host/cpu"})
        assert answer.status_code == 409
        assert "Worker host/cpu is not kept from all work" in answer.text

    @pytest.mark.parametrize("form", [{}, {"worker": "\0"}, {"worker": "host/gpu", "checkpoint": "\0"}])
    @pytest.mark.parametrize("action", ["drain", "restore"])
    def test_a_form_that_names_no_known_worker_is_not_found(
        self, client: FlaskClient, scene: Scene, action: str, form: dict[str, str]
    ) -> None:
        scene.worker()
        assert client.post(f"/workers/{action}", data=form).status_code == 404

    @pytest.mark.parametrize("action", ["drain", "restore"])
    def test_another_site_cannot_press_the_buttons(self, client: FlaskClient, scene: Scene, action: str) -> None:
        scene.worker()
        headers = {"Origin": "https://evil.example"}
        answer = client.post(f"/workers/{action}", data={"worker": "host/cpu"}, headers=headers)
        assert answer.status_code == 403

    def test_the_list_of_jobs_says_that_no_worker_is_in_service(self, client: FlaskClient, scene: Scene) -> None:
        scene.worker()
        scene.drain()
        page = client.get("/").text
        assert "No worker is in service" in page
        assert "of 1 in service" in page

    def test_the_last_log_lines_of_a_lost_attempt_are_folded_away(self, client: FlaskClient, scene: Scene) -> None:
        job_id = scene.submit()
        worker_id = scene.worker()
        scene.claim(worker_id)
        scene.release_dead(worker_id, log_tail="CUDA error <700>")
        page = client.get(f"/jobs/{job_id}").text
        assert '<details id="log-1-1">' in page
        assert "<pre>CUDA error &lt;700&gt;</pre>" in page

    def test_the_memory_relief_of_an_attempt_is_shown(self, client: FlaskClient, scene: Scene) -> None:
        job_id = scene.submit()
        scene.fail(*scene.claim(scene.worker()), relief=["batch halved", "attention slicing"])
        assert "tried first: batch halved, attention slicing" in client.get(f"/jobs/{job_id}").text

    def test_who_gets_what_and_how_good_estimates_were_is_shown(self, client: FlaskClient, scene: Scene) -> None:
        scene.execute(
            "INSERT INTO shares (pool, owner_id, lag, rate, used_seconds) "
            "SELECT 'default', id, -90, 1.5, 7200 FROM users"
        )
        page = client.get("/workers").text
        for text in ("Who gets what", "owes 1 minute", "2 hours", "Estimates", "no job yet"):
            assert text in page

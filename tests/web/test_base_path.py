"""The portal below a path of its host, as a reverse proxy shows it."""

import re
from html import unescape
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from farm import config
from farm.db.connection import Database
from farm.errors import ConfigError
from farm.store.protocol import open_store
from tests.factories import Scene, a_checkpoint
from tests.web.conftest import OpenPortal

BASE = "/render/farm"
LINK = re.compile(r"""(?:href|src|action|formaction|data-[a-z]+)="(/[^"]*)\"""")
PAGES = ("/", "/submit", "/workers", "/checkpoints", "/docs", "/jobs/1", "/nothing")


@pytest.fixture
def portal(open_portal: OpenPortal, database: Database) -> FlaskClient:
    a_checkpoint(database)
    client = open_portal(base_path=BASE)
    assert client.post("/submit", data={"prompts": "a fox"}).location == f"{BASE}/jobs/1"
    return client


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_stays_below_the_path(portal: FlaskClient, page: str) -> None:
    links = [unescape(link) for link in LINK.findall(portal.get(BASE + page).text)]
    assert len(links) > 2
    assert [link for link in links if not link.startswith(f"{BASE}/")] == []


@pytest.mark.parametrize("page", PAGES[:-1])
def test_every_link_of_a_page_leads_somewhere(portal: FlaskClient, page: str) -> None:
    for link in {unescape(link) for link in LINK.findall(portal.get(BASE + page).text)}:
        with portal.get(link) as answer:
            assert answer.status_code in (200, 405), link


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/healthz", "/"])
def test_a_proxy_may_cut_the_path_off_or_leave_it_on(portal: FlaskClient, path: str) -> None:
    assert portal.get(path).status_code == portal.get(BASE + path).status_code == 200
    assert portal.get(BASE).status_code == 200


def test_the_api_names_its_addresses_below_the_path(portal: FlaskClient) -> None:
    answer = portal.post(f"{BASE}/api/v1/jobs", json={"prompts": ["x"]})
    assert answer.location == f"{BASE}/api/v1/jobs/2"
    assert portal.get(f"{BASE}/openapi.json").json["servers"] == [{"url": BASE}]


def test_a_signed_link_lies_below_the_path(portal: FlaskClient, scene: Scene) -> None:
    store = open_store(scene.settings.model_copy(update={"base_path": f"{BASE}/"}))
    store.put("results/1.png", b"x", "image/png")
    link = store.link("results/1.png", seconds=60)
    assert urlsplit(link).path == f"{BASE}/files/results/1.png"
    assert portal.get(link).status_code == 200


def test_scripts_and_styles_name_no_address_of_the_host(client: FlaskClient) -> None:
    for file in ("portal.js", "submit.js", "docs.js", "portal.css"):
        with client.get(f"/static/{file}") as answer:
            assert re.findall(r"""(?:["'`]|url\()/[a-z]""", answer.text) == [], file


@pytest.mark.parametrize("path", ["/jobs", "/api/v1", "/static/"])
def test_a_path_that_is_the_portals_own_is_refused(open_portal: OpenPortal, path: str) -> None:
    with pytest.raises(ConfigError, match="the portal itself has an address"):
        open_portal(base_path=path)


@pytest.mark.parametrize("path", ["farm", "/farm?x", "//farm", "/fa rm", "https://host/farm"])
def test_a_base_path_that_is_no_path_is_refused(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_BASE_PATH", path)
    with pytest.raises(ConfigError, match="FARM_BASE_PATH"):
        config.load_given()

"""The weights a job may name, over HTTP."""

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from farm.db.tables.weights import Addon, Checkpoint
from farm.store.protocol import Store
from tests.factories import Scene, a_stored_checkpoint, an_addon


def test_checkpoints_are_listed_with_their_size(client: FlaskClient, scene: Scene, store: Store) -> None:
    a_stored_checkpoint(scene.database, store, {"a": b"weights"}, "small")
    found = {row["name"]: row for row in client.get("/api/v1/checkpoints").json["checkpoints"]}
    assert (found["small"]["size_bytes"], found["small"]["suggestions"]) == (7, None)


def test_addons_are_listed_by_kind(client: FlaskClient, scene: Scene, store: Store) -> None:
    sha256 = an_addon(scene.database, store, "lora", "detail", b"a lora")
    an_addon(scene.database, store, "vae", "fine", b"a vae")
    assert [row["name"] for row in client.get("/api/v1/addons").json["addons"]] == ["fine", "detail"]
    [lora] = client.get("/api/v1/addons?kind=lora").json["addons"]
    assert (lora["name"], lora["sha256"], lora["size_bytes"], lora["trigger_words"]) == ("detail", sha256, 6, [])


def test_an_unknown_kind_is_refused_with_its_field(client: FlaskClient) -> None:
    answer = client.get("/api/v1/addons?kind=hypernetwork")
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == "kind"


@pytest.mark.parametrize(
    ("origin", "shown"),
    [
        ("/srv/private/mia/dreamy.safetensors", "dreamy.safetensors"),
        ("../private/sd15", "sd15"),
        ("hf:owner/repo@0123abc", "hf:owner/repo@0123abc"),
        ("civitai:4384@128713", "civitai:4384@128713"),
        (
            "https://example.com/a/dreamy.safetensors#sha256=00",
            "https://example.com/a/dreamy.safetensors#sha256=00",
        ),
        (None, None),
    ],
)
def test_the_path_of_weights_on_a_machine_is_not_shown(
    client: FlaskClient, scene: Scene, store: Store, origin: str | None, shown: str | None
) -> None:
    an_addon(scene.database, store, "lora", "detail", b"a lora")
    with scene.database.begin() as session:
        session.execute(update(Checkpoint).values(origin=origin))
        session.execute(update(Addon).values(origin=origin))
    for kind in ("checkpoints", "addons"):
        [row] = client.get(f"/api/v1/{kind}").json[kind]
        assert row["origin"] == shown
    assert "private" not in client.get("/checkpoints").text

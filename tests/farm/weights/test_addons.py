"""The registered VAEs, embeddings and LoRAs."""

import pytest

from farm.errors import Conflict, NotFound
from farm.reports import weights
from farm.weights import addons
from farm.weights.addons import StoredAddon
from tests.factories import Scene

DETAIL = StoredAddon("sd15", "a" * 64, 100, "civitai:58390@62833", ("detailed", "sharp"))


def add(scene: Scene, kind: addons.AddonKind = "lora", name: str = "detail", found: StoredAddon = DETAIL) -> int:
    with scene.database.begin() as session:
        return addons.add(session, kind, name, found, "mine").id


def test_an_addon_is_found_by_its_kind_and_name(scene: Scene) -> None:
    add(scene)
    with scene.database.begin() as session:
        found = addons.get(session, "lora", "detail")
    assert (found.family, found.trigger_words, found.note) == ("sd15", ["detailed", "sharp"], "mine")


def test_each_kind_has_names_of_its_own(scene: Scene) -> None:
    assert add(scene, "lora") != add(scene, "embedding")
    with scene.database.begin() as session:
        assert {kind: list(addons.by_name(session, kind)) for kind in addons.KINDS} == {
            "vae": [],
            "embedding": ["detail"],
            "lora": ["detail"],
        }


def test_addons_are_listed_by_name(scene: Scene) -> None:
    for name in "cab":
        add(scene, name=name)
    with scene.database.begin() as session:
        assert list(addons.by_name(session, "lora")) == ["a", "b", "c"]


def test_adding_the_same_addon_again_changes_nothing(scene: Scene) -> None:
    assert add(scene) == add(scene)


def test_another_addon_under_a_taken_name_is_refused(scene: Scene) -> None:
    add(scene)
    with pytest.raises(Conflict, match="Another LoRA is registered as 'detail'"):
        add(scene, found=StoredAddon("sd15", "b" * 64, 100))


def test_a_removed_name_is_free_for_another(scene: Scene) -> None:
    first = add(scene)
    with scene.database.begin() as session:
        addons.remove(session, "lora", "detail")
    assert add(scene, found=StoredAddon("sdxl", "b" * 64, 100)) != first


@pytest.mark.parametrize(("kind", "title"), [("vae", "VAE"), ("embedding", "embedding"), ("lora", "LoRA")])
def test_an_unregistered_addon_is_not_found(scene: Scene, kind: addons.AddonKind, title: str) -> None:
    with pytest.raises(NotFound, match=f"There is no {title} 'detail'"), scene.database.begin() as session:
        addons.remove(session, kind, "detail")


def test_a_report_shows_kind_size_and_origin_of_an_addon(scene: Scene) -> None:
    add(scene)
    with scene.database.begin() as session:
        [report] = weights.addon_reports(addons.by_name(session, "lora").values())
    assert (report.kind, report.size_bytes, report.origin) == ("lora", 100, "civitai:58390@62833")

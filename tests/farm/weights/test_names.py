"""Names of weights: as their files have them, found however a prompt or a title writes them, and never swapped."""

from pathlib import Path

import pytest

from farm.config import Settings
from farm.errors import Conflict, InvalidRequest, NotFound
from farm.spec.names import Names, nearest
from farm.weights import addons, checkpoints
from farm.weights.addons import StoredAddon
from farm.weights.addrequest import AddRequest, WeightsKind
from farm.weights.hub.fetch import fetch
from farm.weights.hub.sources import parse_source
from tests.factories import Scene, a_checkpoint

SHA = {"a": "a" * 64, "b": "b" * 64}


def add(scene: Scene, kind: addons.AddonKind, name: str, sha256: str = SHA["a"]) -> str:
    with scene.database.begin() as session:
        return addons.add(session, kind, name, StoredAddon("sd15", sha256, 100)).name


def test_names_match_whatever_their_case_spaces_dashes_and_underscores() -> None:
    names = Names(["ng_deepnegative_v1_75t", "Ink", "caf\u00e9"])
    assert names.alike("NG DeepNegative-v1  75T") == ("ng_deepnegative_v1_75t",)
    assert (names.alike("INK"), names.alike("cafe\u0301"), names.alike("in k")) == (("Ink",), ("caf\u00e9",), ())


def test_an_exact_name_is_preferred_to_similar_ones() -> None:
    names = Names(["Ink", "ink"])
    assert (names.only("ink"), names.only("INK"), names.alike("INK")) == ("ink", None, ("Ink", "ink"))


def test_the_nearest_name_is_found_however_case_and_dashes_are_written() -> None:
    assert nearest("DPM_2M karas", ["DPM 2M Karras", "Euler a", "DPM 2M"]) == "DPM 2M Karras"


def test_no_name_is_nearest_where_none_is_as_like_as_asked() -> None:
    assert nearest("sunset", ["sun", "noon"], likeness=0.6) == "sun"
    assert nearest("sunset", ["sun", "noon"], likeness=0.7) is None


def test_so_many_names_are_looked_for_and_the_rest_are_near_to_none() -> None:
    names = Names(["ink"])
    assert [names.nearest(f"inks{number}") for number in range(21)] == [*["ink"] * 20, None]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("UPPER_Case.safetensors", "UPPER_Case"),
        ("ng_deepnegative_v1_75t.pt", "ng_deepnegative_v1_75t"),
        ("桜スタイル.safetensors", "桜スタイル"),
        ("my style v1.5 (final).safetensors", "my style v1.5 (final)"),
        ("cafe\u0301.safetensors", "caf\u00e9"),
        ("a,b=c<d>:e.safetensors", "a_b_c_d__e"),
        ("tab\there\u202e.safetensors", "tab_here"),
    ],
)
def test_the_name_of_weights_is_that_of_their_file(
    tmp_path: Path, settings: Settings, file: str, name: str
) -> None:
    (tmp_path / file).write_bytes(b"weights")
    fetched = fetch(parse_source(str(tmp_path / file)), settings, tmp_path)
    assert AddRequest("lora", file).choose_name(fetched.name_hint) == name


def test_a_file_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="gives no name: choose one"):
        AddRequest("lora", "---.safetensors").choose_name("---")


@pytest.mark.parametrize("name", ["a:b", "a,b", "a=b", "<a>", "{a}", "a|b", "a\\b", "a\u200bb", " ", "a\nb"])
def test_a_chosen_name_that_no_prompt_can_contain_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        AddRequest("lora", "x").check_name(name)


@pytest.mark.parametrize("kind", addons.KINDS)
def test_another_addon_under_a_similar_name_is_refused(scene: Scene, kind: addons.AddonKind) -> None:
    add(scene, kind, "ng-deepnegative")
    with pytest.raises(Conflict, match="registered as 'ng-deepnegative', which is not told from 'NG_DeepNegative'"):
        add(scene, kind, "NG_DeepNegative", SHA["b"])


def test_the_same_addon_under_a_similar_name_keeps_its_registered_name(scene: Scene) -> None:
    add(scene, "lora", "ng-deepnegative")
    assert add(scene, "lora", "ng_deepnegative") == "ng-deepnegative"


def test_another_checkpoint_under_a_similar_name_is_refused(scene: Scene) -> None:
    a_checkpoint(scene.database, "Dreamy_v2", SHA["a"])
    with pytest.raises(Conflict, match="which is not told from 'dreamy-v2'"):
        a_checkpoint(scene.database, "dreamy-v2", SHA["b"])


def test_a_lookup_or_removal_may_spell_the_name_differently(scene: Scene) -> None:
    add(scene, "lora", "Ink_Wash")
    a_checkpoint(scene.database, "Dreamy_v2")
    with scene.database.begin() as session:
        assert addons.get(session, "lora", "ink wash").name == "Ink_Wash"
        checkpoints.remove(session, "dreamy v2")
        with pytest.raises(NotFound, match="Did you mean 'Ink_Wash'"):
            addons.get(session, "lora", "ink_was")


@pytest.mark.parametrize("tag", ["UPPER_Case", "upper-case", "Upper Case", "UPPER CASE"])
def test_a_tag_finds_its_lora_however_it_is_written(scene: Scene, tag: str) -> None:
    add(scene, "lora", "UPPER_Case")
    [task] = scene.tasks(scene.submit(prompts=[f"a fox <lora:{tag}:0.5> <lora:UPPER_Case:0.25>"]))
    assert [(lora["name"], lora["weight"]) for lora in task.spec["loras"]] == [("UPPER_Case", 0.75)]


def test_a_lora_in_any_script_is_called_by_its_name(scene: Scene) -> None:
    add(scene, "lora", "桜スタイル")
    [task] = scene.tasks(scene.submit(prompts=["a fox <lora:桜スタイル:0.5>"]))
    assert task.spec["loras"][0]["name"] == "桜スタイル"


@pytest.mark.parametrize("written", ["add detail.safetensors", "more/add detail.safetensors", "add_detale.pt"])
def test_the_nearest_lora_is_looked_for_without_suffix_and_folder(scene: Scene, written: str) -> None:
    for name, sha256 in (("add_detail2", SHA["a"]), ("a.b.safetensors.v2", SHA["b"])):
        add(scene, "lora", name, sha256)
    with pytest.raises(InvalidRequest, match="Did you mean 'add_detail2'"):
        scene.submit(prompts=[f"a <lora:{written}:0.7>"])


def test_an_unknown_lora_is_refused_with_the_nearest(scene: Scene) -> None:
    add(scene, "lora", "UPPER_Case")
    with pytest.raises(InvalidRequest, match=r"unknown LoRA 'uppercase'\. Did you mean 'UPPER_Case'"):
        scene.submit(prompts=["a fox <lora:uppercase:0.5>"])


def test_a_name_that_may_be_either_of_two_is_refused(scene: Scene) -> None:
    """As farms have them whose names were given before they had to differ."""
    scene.execute(
        "INSERT INTO addons (kind, name, family, sha256, size_bytes) "
        f"VALUES ('lora', 'a_b', 'sd15', '{SHA['a']}', 1), ('lora', 'a-b', 'sd15', '{SHA['b']}', 1)"
    )
    with pytest.raises(InvalidRequest, match="LoRA 'A B' may be any of a-b, a_b: write the one that is meant"):
        scene.submit(prompts=["<lora:A B:1>"])
    [task] = scene.tasks(scene.submit(prompts=["<lora:a_b:1>"]))
    assert task.spec["loras"][0]["sha256"] == SHA["a"]


def test_an_axis_sets_the_weight_of_a_lora_that_the_prompt_spells_differently(scene: Scene) -> None:
    add(scene, "lora", "UPPER_Case")
    axes = [{"field": "lora:upper case", "values": [0.5, 1]}]
    tasks = scene.tasks(scene.submit(prompts=["a fox <lora:Upper-Case:0.1>"], axes=axes))
    assert [[lora["weight"] for lora in task.spec["loras"]] for task in tasks] == [[0.5], [1.0]]


@pytest.mark.parametrize("word", ["ng_deepnegative_v1_75t", "NG DeepNegative v1 75t", "ng-deepnegative-v1-75T"])
def test_a_prompt_finds_an_embedding_by_its_files_name(scene: Scene, word: str) -> None:
    add(scene, "embedding", "ng_deepnegative_v1_75t")
    [task] = scene.tasks(scene.submit(prompts=["a fox"], negative_prompt=f"({word}:1.2), blurry"))
    assert [ref["name"] for ref in task.spec["embeddings"]] == ["ng_deepnegative_v1_75t"]
    assert word in task.spec["negative_prompt"]


@pytest.mark.parametrize(
    ("word", "warning"),
    [
        ("bad hands 5", "'bad hands 5' is taken for the embedding 'bad-hands-5'"),
        ("bad-hands-6", "there is no embedding 'bad-hands-6'; did you mean 'bad-hands-5'?"),
        ("easy negative", "'easy negative' is text; the embedding is called 'EasyNegative'"),
        ("EasyNegativ", "there is no embedding 'EasyNegativ'; did you mean 'EasyNegative'?"),
    ],
)
def test_a_near_miss_of_an_embedding_is_reported(scene: Scene, word: str, warning: str) -> None:
    for name, sha256 in (("bad-hands-5", SHA["a"]), ("EasyNegative", SHA["b"])):
        add(scene, "embedding", name, sha256)
    assert scene.job(scene.submit(prompts=["a fox"], negative_prompt=word)).warnings == [warning]


def test_prose_is_no_near_miss_of_an_embedding(scene: Scene) -> None:
    for name, sha256 in (("style", SHA["a"]), ("bad-hands-5", SHA["b"])):
        add(scene, "embedding", name, sha256)
    prose = "styles, a well-known sci-fi masterpiece, best_quality, hands"
    assert scene.job(scene.submit(prompts=[prose])).warnings == []


@pytest.mark.parametrize(
    "title",
    [
        *("Dreamy_v2", "dreamy v2", "Dreamy_v2.safetensors", f"Dreamy_v2.safetensors [{'a' * 10}]"),
        *(f"Dreamy_v2 [{'A' * 10}]", "sd15/Dreamy_v2.ckpt", f"sd15\\Dreamy_v2.safetensors [{'a' * 64}]"),
        f"renamed.safetensors [{'a' * 10}]",
    ],
)
def test_a_title_of_the_webui_names_a_checkpoint(scene: Scene, title: str) -> None:
    a_checkpoint(scene.database, "Dreamy_v2", SHA["a"])
    [task] = scene.tasks(scene.submit(checkpoint=title))
    assert task.spec["checkpoint"] == "Dreamy_v2"


@pytest.mark.parametrize(
    ("title", "why"),
    [
        (
            f"Dreamy_v2.safetensors [{'b' * 10}]",
            "'Dreamy_v2' is another checkpoint here: its hash is aaaaaaaaaa",
        ),
        ("Dreamy_v2.safetensors [7460a6fa]", "is a hash as the WebUI made it before 2023"),
        ("Dreamy_v3.safetensors", "Did you mean 'Dreamy_v2'"),
        (f"other [{'c' * 10}]", "unknown checkpoint 'other"),
    ],
)
def test_a_title_of_other_weights_is_refused(scene: Scene, title: str, why: str) -> None:
    a_checkpoint(scene.database, "Dreamy_v2", SHA["a"])
    with pytest.raises(InvalidRequest, match=f"checkpoint: .*{why}"):
        scene.submit(checkpoint=title)


def test_a_vae_may_be_named_by_its_file(scene: Scene) -> None:
    add(scene, "vae", "vae-ft-mse")
    [task] = scene.tasks(scene.submit(vae="vae-ft-mse.safetensors"))
    assert task.spec["vae"]["name"] == "vae-ft-mse"


@pytest.mark.parametrize("kind", ["checkpoint", "lora"])
def test_a_name_of_any_length_on_disk_fits(kind: WeightsKind) -> None:
    assert len(AddRequest(kind, "x").choose_name("桜" * 300)) == 200

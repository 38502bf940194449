"""Styles and wildcards, from their files into prompts."""

from pathlib import Path

import pytest

from farm import phrases
from farm.errors import InvalidRequest, NotFound
from tests.factories import Scene

CSV = 'name,prompt,negative_prompt\nfilm,"{prompt}, on film",cartoon\nnoir,"black and white",\n'


def test_styles_of_a_file_work_in_jobs(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "styles.csv"
    file.write_text(CSV, encoding="utf-8-sig")
    with scene.database.begin() as session:
        assert phrases.put_styles(session, phrases.read_styles_file(file)) == 2
    [task] = scene.tasks(scene.submit(prompts=["a fox"], styles=["film", "noir"]))
    assert task.spec["prompt"] == "a fox, on film, black and white"
    assert task.spec["negative_prompt"] == "cartoon"


def test_a_style_of_the_same_name_is_replaced(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "styles.csv"
    for text in (CSV, CSV.replace("on film", "on old film")):
        file.write_text(text)
        with scene.database.begin() as session:
            phrases.put_styles(session, phrases.read_styles_file(file))
    with scene.database.begin() as session:
        assert [style.prompt for style in phrases.all_styles(session)] == [
            "{prompt}, on old film",
            "black and white",
        ]


def test_wildcards_of_a_folder_are_named_by_their_path(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "animals").mkdir()
    (tmp_path / "animals" / "wild.txt").write_text("# shy ones\nfox\n\n  owl\n")
    (tmp_path / "light.txt").write_text("dusk\n")
    with scene.database.begin() as session:
        for name, lines in phrases.read_wildcards(tmp_path).items():
            phrases.put_wildcard(session, name, lines)
    job_id = scene.submit(prompts=["a __animals/wild__ at __light__"], dynamic_prompts="all")
    assert [task.spec["prompt"] for task in scene.tasks(job_id)] == ["a fox at dusk", "a owl at dusk"]


@pytest.mark.parametrize(("name", "content"), [("a.txt", b""), ("a.txt", b"\xff\xfe"), ("a.md", b"x")])
def test_a_folder_with_a_bad_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidRequest):
        phrases.read_wildcards(tmp_path)


def test_what_is_removed_is_unknown_from_then_on(scene: Scene) -> None:
    with scene.database.begin() as session:
        phrases.put_wildcard(session, "light", ["dusk"])
        phrases.remove_wildcard(session, "light")
        with pytest.raises(NotFound):
            phrases.remove_wildcard(session, "light")
        with pytest.raises(NotFound):
            phrases.remove_style(session, "film")
    with pytest.raises(InvalidRequest, match="light"):
        scene.submit(prompts=["__light__"])

"""Styles and wildcards, from their files into prompts."""

from collections.abc import Callable
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


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("shy animals", "; `shy-animals` could"),
        ("a__b", "; `a-b` could"),
        ("a,b", "; `a-b` could"),
        ("ends_", "; `ends` could"),
        ("all*", "; `all` could"),
        ("!", ""),
    ],
)
def test_a_name_that_no_prompt_can_call_is_refused(tmp_path: Path, name: str, hint: str) -> None:
    (tmp_path / f"{name}.txt").write_text("fox\n")
    with pytest.raises(InvalidRequest) as caught:
        phrases.read_wildcards(tmp_path)
    [problem] = caught.value.problems
    assert (problem.field, problem.message.partition("/ only")[2]) == (name, hint)


@pytest.mark.parametrize("read", [phrases.read_wildcards, phrases.read_styles_file])
def test_a_nul_character_is_refused_by_file_and_line(tmp_path: Path, read: Callable[[Path], object]) -> None:
    file = tmp_path / "light.txt"
    file.write_text("name,prompt\nfilm,du\0sk\n")
    with pytest.raises(InvalidRequest, match=r"light\.txt, line 2: must not contain a NUL character"):
        read(file)


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

"""A folder of wildcards from a stranger: nothing in it leads to another file, hangs, or costs much."""

import os
from pathlib import Path

import pytest

from farm.errors import InvalidRequest
from farm.intake.wildcardfiles import read_wildcard_files
from farm.prompts.dynamic import unfold_random
from tests.costs import Meter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a good file, beside a secret."""
    (tmp_path / "secret.txt").write_text("the signing key\n")
    (tmp_path / "pack" / "inside").mkdir(parents=True)
    (tmp_path / "pack" / "light.txt").write_text("dusk\n")
    return tmp_path / "pack"


def refused(path: Path) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        read_wildcard_files(path)
    assert "signing key" not in str(caught.value)
    return [(problem.field.removeprefix(f"{path}/"), problem.message) for problem in caught.value.problems]


@pytest.mark.parametrize("target", ["../secret.txt", "/etc/hostname", "inside/../../secret.txt"])
def test_a_link_out_of_the_folder_is_refused_by_name(folder: Path, target: str) -> None:
    (folder / "key.txt").symlink_to(target)
    assert refused(folder) == [("key.txt", "is a link out of the folder; put the file itself here")]


def test_a_link_through_a_link_is_refused_too(folder: Path) -> None:
    (folder / "inside" / "hop.txt").symlink_to("../key.txt")
    (folder / "key.txt").symlink_to("../secret.txt")
    assert {name for name, _ in refused(folder)} == {"inside/hop.txt", "key.txt"}


def test_a_link_to_a_folder_is_refused(folder: Path) -> None:
    (folder / "all").symlink_to(folder.parent)
    assert refused(folder) == [("all", "is a link to a folder; put it here")]


def test_a_link_that_stays_inside_is_read(folder: Path) -> None:
    (folder / "same.txt").symlink_to("light.txt")
    assert read_wildcard_files(folder).lines == {"light": ["dusk"], "same": ["dusk"]}


def test_a_folder_that_is_a_link_itself_is_read(folder: Path) -> None:
    (folder.parent / "other").symlink_to(folder)
    assert read_wildcard_files(folder.parent / "other").lines == {"light": ["dusk"]}


@pytest.mark.parametrize("name", ["pipe.txt", "pipe.yaml"])
def test_a_pipe_is_refused_without_waiting(folder: Path, name: str) -> None:
    os.mkfifo(folder / name)
    assert refused(folder) == [(name, "is not a regular file")]
    assert refused(folder / name)[0][1] == "is no regular file"


def test_a_device_is_refused(folder: Path) -> None:
    (folder / "zero.txt").symlink_to("/dev/zero")
    assert refused(folder) == [("zero.txt", "is a link out of the folder; put the file itself here")]
    assert refused(folder / "zero.txt")[0][1] == "is no regular file"


@pytest.mark.parametrize("target", ["nowhere.txt", "loop.txt"])
def test_a_link_to_nothing_is_refused(folder: Path, target: str) -> None:
    (folder / "loop.txt").symlink_to(target)
    assert refused(folder) == [("loop.txt", "is a broken link")]


def test_a_file_without_an_end_to_speak_of_is_refused(folder: Path, costs: Meter) -> None:
    with (folder / "huge.txt").open("wb") as file:
        file.truncate(60 * 2**20)
    with costs.at_most(seconds=2, mebibytes=64):
        assert refused(folder) == [("huge.txt", "is larger than 8 MiB")]


def test_a_folder_of_many_large_files_is_refused(folder: Path, costs: Meter) -> None:
    for number in range(10):
        with (folder / f"{number}.txt").open("wb") as file:
            file.truncate(7 * 2**20)
    with costs.at_most(seconds=2, mebibytes=64):
        assert refused(folder) == [(str(folder), "holds more than 10,000 files or 64 MiB")]


_LEVELS = zip("abcdefgh", "bcdefghi", strict=True)
BOMB = "\n".join(["a: &a [x, x]", *(f"{name}: &{name} [*{last}, *{last}, *{last}]" for last, name in _LEVELS)])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB, "anchors and aliases (& and *) are not read; write the text out, or in quotes"),
        ("a: " + "[" * 100_000, "is nested more than 20 deep"),
        ("a: " + "{a: " * 100_000, "is nested more than 20 deep"),
        ("a: !!python/object/apply:os.system [id]", "the tag tag:yaml.org,2002:python/object/apply:os.system is"),
        ("<<: {a: [b]}\n? [x]\n: y", "a name must be a text"),
    ],
)
def test_a_pack_that_is_an_attack_is_refused(folder: Path, costs: Meter, text: str, why: str) -> None:
    (folder / "pack.yaml").write_text(text)
    with costs.at_most(seconds=2, mebibytes=64):
        [(_, message)] = refused(folder)
    assert message.startswith(why)


def test_a_pack_of_json_nested_deeply_is_refused(folder: Path, costs: Meter) -> None:
    (folder / "pack.json").write_text('{"a": ' * 900 + "[]" + "}" * 900)
    with costs.at_most(seconds=2, mebibytes=64):
        [(_, message)] = refused(folder)
    assert message.startswith("is nested too deeply")


def test_prose_is_not_compared_with_every_wildcard_each_time(costs: Meter) -> None:
    known = {f"pack {number}/hair color {number}": ["red"] for number in range(20_000)}
    text = ", ".join(f"__words of {number}__" for number in range(1_000))
    with costs.at_most(seconds=2, mebibytes=128):
        assert unfold_random(text, known, 1) == text


@pytest.mark.parametrize("text", ["__" + "é" * 60, "__é " + "é" * 60 + " -", ("__é " + "é" * 40) * 200])
def test_a_name_that_is_never_closed_is_read_once(text: str, costs: Meter) -> None:
    with costs.at_most(seconds=2, mebibytes=64):
        assert unfold_random(text, {}, 1) == text

"""Styles and wildcards, from their files into prompts."""

from collections.abc import Callable
from pathlib import Path

import pytest

from farm.errors import InvalidRequest, NotFound
from farm.intake import snippets
from farm.intake.wildcardfiles import read_wildcard_files
from farm.prompts.styles import PromptStyle
from tests.factories import Scene

CSV = 'name,prompt,negative_prompt\nfilm,"{prompt}, on film",cartoon\nnoir,"black and white",\n'


def test_styles_of_a_file_work_in_jobs(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "styles.csv"
    file.write_text(CSV, encoding="utf-8-sig")
    with scene.database.begin() as session:
        assert snippets.put_styles(session, snippets.read_styles_file(file)) == 2
    [task] = scene.tasks(scene.submit(prompts=["a fox"], styles=["film", "noir"]))
    assert task.spec["prompt"] == "a fox, on film, black and white"
    assert task.spec["negative_prompt"] == "cartoon"


def test_a_style_of_the_same_name_is_replaced(scene: Scene, tmp_path: Path) -> None:
    file = tmp_path / "styles.csv"
    for text in (CSV, CSV.replace("on film", "on old film")):
        file.write_text(text)
        with scene.database.begin() as session:
            snippets.put_styles(session, snippets.read_styles_file(file))
    with scene.database.begin() as session:
        assert [style.prompt for style in snippets.all_styles(session)] == [
            "{prompt}, on old film",
            "black and white",
        ]


def test_wildcards_of_a_folder_are_named_by_their_path(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "animals").mkdir()
    (tmp_path / "animals" / "wild.txt").write_text("# shy ones\nfox\n\n  owl\n")
    (tmp_path / "light.txt").write_text("dusk\n")
    with scene.database.begin() as session:
        for name, lines in snippets.read_wildcards(tmp_path).items():
            snippets.put_wildcard(session, name, lines)
    job_id = scene.submit(prompts=["a __animals/wild__ at __light__"], dynamic_prompts="all")
    assert [task.spec["prompt"] for task in scene.tasks(job_id)] == ["a fox at dusk", "a owl at dusk"]


@pytest.mark.parametrize(("name", "content"), [("a.txt", b""), ("a.txt", b"\xff\xfe"), ("a.md", b"x")])
def test_a_folder_with_a_bad_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidRequest):
        snippets.read_wildcards(tmp_path)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("shy  animals", "; rename it to `shy-animals`"),
        ("a__b", "; rename it to `a-b`"),
        ("a,b", "; rename it to `a-b`"),
        ("ends_", "; rename it to `ends`"),
        ("all*", "; rename it to `all`"),
        ("!", ""),
    ],
)
def test_a_name_that_no_prompt_can_call_is_refused(tmp_path: Path, name: str, hint: str) -> None:
    (tmp_path / f"{name}.txt").write_text("fox\n")
    with pytest.raises(InvalidRequest) as caught:
        snippets.read_wildcards(tmp_path)
    [problem] = caught.value.problems
    assert (problem.field, problem.message.partition("/ only")[2]) == (str(tmp_path / f"{name}.txt"), hint)


@pytest.mark.parametrize("read", [snippets.read_wildcards, snippets.read_styles_file])
def test_a_nul_character_is_refused_by_file_and_line(tmp_path: Path, read: Callable[[Path], object]) -> None:
    file = tmp_path / "light.txt"
    file.write_text("name,prompt\nfilm,du\0sk\n")
    with pytest.raises(InvalidRequest, match=r"light\.txt, line 2: must not contain a NUL character"):
        read(file)


def test_a_removed_wildcard_or_style_is_unknown(scene: Scene) -> None:
    with scene.database.begin() as session:
        snippets.put_wildcard(session, "light", ["dusk"])
        snippets.remove_wildcard(session, "light")
        with pytest.raises(NotFound):
            snippets.remove_wildcard(session, "light")
        with pytest.raises(NotFound):
            snippets.remove_style(session, "film")
    with pytest.raises(InvalidRequest, match="light"):
        scene.submit(prompts=["__light__"])


def put(scene: Scene, *names: str) -> None:
    with scene.database.begin() as session:
        for name in names:
            snippets.put_wildcard(session, name, ["red"])


@pytest.mark.parametrize(
    "name", ["hair color", "Hair Color", "hair-color", "hair_color", "looks/hair color", "pack/hair color"]
)
def test_a_file_whose_name_has_spaces_names_a_wildcard(scene: Scene, tmp_path: Path, name: str) -> None:
    (tmp_path / "pack" / "looks").mkdir(parents=True)
    (tmp_path / "pack" / "looks" / "hair color.txt").write_text("red\n")
    put(scene, *snippets.read_wildcards(tmp_path))
    [task] = scene.tasks(scene.submit(prompts=[f"a __{name}__ fox"]))
    assert task.spec["prompt"] == "a red fox"


def test_a_name_with_dashes_may_be_written_with_spaces(scene: Scene) -> None:
    put(scene, "hair-color")
    [task] = scene.tasks(scene.submit(prompts=["a __hair color__ fox, {__hair color__}"]))
    assert task.spec["prompt"] == "a red fox, red"


@pytest.mark.parametrize(
    "text",
    [
        "a __sign that says hello__ fox",
        "__init and __ main",
        "__ hair color __",
        "x__hair color__x",
        f"__{'word ' * 60}end__",
        "__5 * 3 and 4 * 2__",
    ],
)
def test_prose_between_two_double_underscores_stays_as_it_is(scene: Scene, text: str) -> None:
    put(scene, "hair color")
    [task] = scene.tasks(scene.submit(prompts=[text]))
    assert task.spec["prompt"] == text


def test_a_stray_double_underscore_does_not_turn_prose_into_a_wildcard(scene: Scene) -> None:
    put(scene, "sky")
    [task] = scene.tasks(scene.submit(prompts=["a__b and c__sky__, __ or __sky__"]))
    assert task.spec["prompt"] == "a__b and cred, __ or red"


def test_words_that_are_nearly_a_wildcard_are_refused_with_its_name(scene: Scene) -> None:
    put(scene, "hair color")
    with pytest.raises(InvalidRequest, match="no wildcard __hair colour__; the nearest are __hair color__"):
        scene.submit(prompts=["a __hair colour__ fox"])


def test_a_file_in_any_script_names_a_wildcard(scene: Scene, tmp_path: Path) -> None:
    for name in ("สีแดง", "色", "colours_émail"):
        (tmp_path / f"{name}.txt").write_text("red\n")
    with scene.database.begin() as session:
        for name, lines in snippets.read_wildcards(tmp_path).items():
            snippets.put_wildcard(session, name, lines)
    [task] = scene.tasks(scene.submit(prompts=["__สีแดง__ __色__ __Colours-Émail__"]))
    assert task.spec["prompt"] == "red red red"


PACK = """\
colors:
  - red
  - 2::blue
  - no
shapes:
  round: [circle, {text: ring, weight: 3}]
  one: "square"
"""


def test_a_pack_is_a_wildcard_for_each_of_its_lists(tmp_path: Path) -> None:
    (tmp_path / "pack.yaml").write_text(PACK)
    expected = {"colors": ["red", "2::blue", "no"], "shapes/round": ["circle", "3::ring"], "shapes/one": ["square"]}
    assert snippets.read_wildcards(tmp_path) == {f"pack/{name}": lines for name, lines in expected.items()}
    assert snippets.read_wildcards(tmp_path / "pack.yaml") == snippets.read_wildcards(tmp_path)


def test_a_pack_may_be_json_and_lie_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "pack.json").write_text('{"light": ["dusk", "dawn"]}')
    assert snippets.read_wildcards(tmp_path) == {"more/pack/light": ["dusk", "dawn"]}


@pytest.mark.parametrize("name", ["pack/shapes/round", "shapes/round", "round", "Pack/Round", "shapes/*"])
def test_a_prompt_may_call_a_pack_without_the_name_of_its_file(scene: Scene, name: str) -> None:
    with scene.database.begin() as session:
        snippets.put_wildcard(session, "pack/shapes/round", ["circle"])
        snippets.put_wildcard(session, "pack/colors", ["red"])
    [task] = scene.tasks(scene.submit(prompts=[f"a __{name}__"]))
    assert task.spec["prompt"] == "a circle"


def test_a_name_that_two_packs_have_is_refused_by_both(scene: Scene) -> None:
    with scene.database.begin() as session:
        for pack in "ab":
            snippets.put_wildcard(session, f"{pack}/colors", ["red"])
    with pytest.raises(InvalidRequest, match="__colors__ may be any of __a/colors__, __b/colors__"):
        scene.submit(prompts=["__colors__"])


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ("a:\n  - b\n  -\n", ", line 3", "pack/a: a text is missing here"),
        ("a:\n", ", line 1", "pack/a: a text is missing here"),
        ("a:\n  - '#1 artist'\n", ", line 2", "pack/a: '#1 artist' begins with #"),
        ("a:\n  - {name: b}\n", ", line 2", "pack/a: must be a text, or `text` with a number"),
        ("a: [b]\na: [c]\n", ", line 2", "`a` stands twice, first on line 1"),
        ("a: []\n", ", line 1", "pack/a holds nothing"),
        ("a:\n\t- b\n", ", line 2", "is not YAML: "),
        ("", "", "holds nothing"),
    ],
)
def test_a_pack_that_is_not_read_whole_is_refused_by_line(tmp_path: Path, text: str, place: str, why: str) -> None:
    file = tmp_path / "pack.yaml"
    file.write_text(text)
    with pytest.raises(InvalidRequest) as caught:
        snippets.read_wildcards(file)
    [problem] = caught.value.problems
    assert (problem.field, problem.message[: len(why)]) == (f"{file}{place}", why)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("red\n")
    (tmp_path / "a.yaml").write_text("[blue]\n")
    with pytest.raises(InvalidRequest, match="defines __a__, as another file here does"):
        snippets.read_wildcards(tmp_path)


def test_files_of_a_folder_that_are_no_wildcards_are_named(tmp_path: Path) -> None:
    for name in ("light.txt", "README.md", ".hidden"):
        (tmp_path / name).write_text("dusk\n")
    found = read_wildcard_files(tmp_path)
    assert (dict(found.lines), found.left_out) == ({"light": ["dusk"]}, ("README.md",))


@pytest.mark.parametrize(
    "name", [".hid.txt", "._light.txt", "__MACOSX/._light.txt", "__MACOSX/b.txt", ".git/c.yaml"]
)
def test_hidden_files_of_a_folder_are_no_wildcards(tmp_path: Path, name: str) -> None:
    for file in (tmp_path / name, tmp_path / "light.txt"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("dusk\n")
    found = read_wildcard_files(tmp_path)
    assert (dict(found.lines), found.left_out) == ({"light": ["dusk"]}, ())


def test_a_hidden_file_that_is_named_itself_is_read(tmp_path: Path) -> None:
    (tmp_path / ".hid.txt").write_text("dusk\n")
    assert list(read_wildcard_files(tmp_path / ".hid.txt").lines.values()) == [["dusk"]]


def test_an_empty_file_beside_others_is_left_out_and_named(tmp_path: Path) -> None:
    for name, text in (("a.txt", "dusk\n"), ("b.txt", ""), ("c.txt", "# nothing\n")):
        (tmp_path / name).write_text(text)
    found = read_wildcard_files(tmp_path)
    assert (dict(found.lines), found.empty) == ({"a": ["dusk"]}, ("b.txt", "c.txt"))


def test_a_folder_of_empty_files_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n")
    with pytest.raises(InvalidRequest, match="holds no line in any of its files"):
        read_wildcard_files(tmp_path)


@pytest.mark.parametrize("name", ["styles.xlsx", "styles.yaml", "styles"])
def test_styles_of_another_kind_are_refused_by_their_suffix(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("name,prompt\nink,a\n")
    with pytest.raises(InvalidRequest, match=r"styles come from \.csv"):
        snippets.read_styles_file(tmp_path / name)


def test_a_stray_quote_among_styles_is_refused_by_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "styles.csv"
    file.write_text('name,prompt,negative_prompt\nink,"a,\nnoir,b,c\nfilm,d,e\n')
    with pytest.raises(InvalidRequest) as caught:
        snippets.read_styles_file(file)
    assert str(caught.value).startswith(f"{file}, line 2: a quote opens here and is never closed")


def test_styles_as_the_webui_writes_them_are_read(tmp_path: Path) -> None:
    file = tmp_path / "styles.csv"
    rows = ['"Cinematic, moody","still {prompt}, grain","cartoon, ""bad"""', "Old,oil,", ",,", "--- divider ---,,"]
    file.write_bytes(("\ufeffname,prompt,negative_prompt\r\n" + "\r\n".join(rows) + "\r\n").encode())
    assert snippets.read_styles_file(file) == [
        PromptStyle("Cinematic, moody", "still {prompt}, grain", 'cartoon, "bad"'),
        PromptStyle("Old", "oil", ""),
    ]


def test_a_style_of_several_lines_of_tags_is_one_style(tmp_path: Path) -> None:
    file = tmp_path / "styles.csv"
    file.write_text('name,prompt,negative_prompt\nA,"masterpiece,best quality\n1girl,solo",bad\nB,oil,\n')
    assert snippets.read_styles_file(file) == [
        PromptStyle("A", "masterpiece,best quality\n1girl,solo", "bad"),
        PromptStyle("B", "oil", ""),
    ]

"""The keys of objects are written and read in one place, and stay what they are in the stores of running farms."""

import re
from pathlib import Path

import pytest

from farm.store.keys import (
    GridKey,
    InputKey,
    ObjectKey,
    RenderedKey,
    WeightsKey,
    grid_key,
    input_key,
    parse_key,
    rendered_key,
    weights_key,
)

ROOT = Path(__file__).resolve().parents[3]
SHA256 = "0123456789abcdef" * 4
TOKEN = "00ff" * 4

WRITTEN = {
    "results/7/12-1.png": RenderedKey("result", 7, 12, 1, ".png"),
    "thumbnails/7/12-3.jpg": RenderedKey("thumbnail", 7, 12, 3, ".jpg"),
    f"inputs/{SHA256}.png": InputKey(SHA256),
    f"grids/7/0-{TOKEN}.png": GridKey(7, 0, TOKEN),
    f"weights/{SHA256}": WeightsKey(SHA256),
}


@pytest.mark.parametrize(
    ("key", "named"), WRITTEN.items(), ids=[type(named).__name__ for named in WRITTEN.values()]
)
def test_a_key_is_read_as_what_it_was_written_from(key: str, named: ObjectKey) -> None:
    assert (str(named), parse_key(key)) == (key, named)


def test_each_kind_of_key_is_written_as_ever() -> None:
    assert list(WRITTEN) == [
        rendered_key("result", job_id=7, task_id=12, attempt=1, suffix=".png"),
        rendered_key("thumbnail", job_id=7, task_id=12, attempt=3, suffix=".jpg"),
        input_key(SHA256),
        grid_key(7, 0, TOKEN),
        weights_key(SHA256),
    ]


@pytest.mark.parametrize(
    "key",
    [
        *("", "results/", "results/1/1-1", "results/1/1-1.png.bak", "backup/results/1/1-1.png", "images/1/1-1.png"),
        *("results/1/" + "9" * 40 + "-1.png", "results/1/1-99999999999.png", "results/1/\u0661-1.png"),
        *("inputs/broken.png", f"inputs/{SHA256}.jpg", f"inputs/{SHA256.upper()}.png", f"weights/{SHA256}.json"),
        *("grids/7/0.png", f"grids/7/{TOKEN}.png"),
    ],
)
def test_a_key_that_the_farm_never_writes_is_not_read(key: str) -> None:
    assert parse_key(key) is None


def test_a_key_is_spelled_in_one_module() -> None:
    spelled = re.compile(r"""["'(|](results|thumbnails|inputs|grids|weights)[|)]?/|role}s/""")
    modules = (path for package in ("farm", "workers", "web") for path in (ROOT / package).rglob("*.py"))
    found = {path.relative_to(ROOT).as_posix() for path in modules if spelled.search(path.read_text())}
    assert found == {"farm/store/keys.py"}

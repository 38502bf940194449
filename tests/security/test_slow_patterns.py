"""Texts that are worst for what looks through them: a pattern that tries anew from each sign would take minutes."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from werkzeug.exceptions import RequestEntityTooLarge

from farm.errors import InvalidRequest
from farm.infotext import read_infotext
from farm.prompts import template
from farm.prompts.embeddings import EmbeddingNames
from farm.prompts.namedoubts import NameDoubts
from farm.prompts.networks import extract_networks
from tests.costs import Meter
from web.guard.limits import MAX_JSON_VALUES, check_values

NAMES = [f"bad_hand_{number}" for number in range(1_000)]


def read_swarm(prompt: str) -> None:
    read_infotext(json.dumps({"sui_image_params": {"prompt": prompt, "model": "demo"}}))


def read_json(text: str) -> None:
    check_values(b"," * (MAX_JSON_VALUES + 1) + text.encode())


READERS: Mapping[str, Callable[[str], Any]] = {
    "dynamic prompts": template.parse,
    "whether it is dynamic": template.is_dynamic,
    "wildcard lines": lambda text: template.build_choice((text,)),
    "doubts about names": lambda text: list(NameDoubts(NAMES).in_text(text)),
    "names": EmbeddingNames(NAMES).in_text,
    "networks": extract_networks,
    "infotext": read_infotext,
    "SwarmUI": read_swarm,
    "JSON": read_json,
}
WORST = {
    "letters beyond ASCII": "__" + "\u00e9" * 20_000,
    "letters": "a" * 20_000,
    "letters and dashes": "a-" * 10_000,
    "quotes": '"' + '\\"' * 20_000,
    "commands": "<a[" * 7_000,
    "tags": "<" * 20_000,
    "the first word of many names": "bad " * 5_000,
    "keys": "a: " * 7_000,
    "underscores": "_" * 20_000,
    "half wildcards": "__a" * 7_000,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", WORST)
def test_the_worst_text_is_read_or_refused_in_a_moment(reader: str, text: str, costs: Meter) -> None:
    with costs.at_most(seconds=2, mebibytes=100):
        try:
            READERS[reader](WORST[text])
        except (InvalidRequest, RequestEntityTooLarge):
            return

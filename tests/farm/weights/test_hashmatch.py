"""An image is rendered again with the weights that made it, or it is said that these are others here."""

from typing import Any

import pytest

from farm.infotext import Infotext, infotext, read_infotext
from farm.spec.image import AddonRef, LoraRef
from farm.weights.hashmatch import RegisteredHashes, match_registered
from tests.factories import a_spec

MADE, OTHER = "ab" * 32, "cd" * 32


def an_image(**fields: Any) -> Infotext:
    return read_infotext(infotext(a_spec(checkpoint="dreamy", **fields), MADE))


@pytest.mark.parametrize(
    ("checkpoints", "name"),
    [
        ({"dreamy": MADE, "twin": MADE}, "dreamy"),
        ({"ours": MADE}, "ours"),
        ({"dreamy": OTHER, "ours": MADE}, "ours"),
    ],
)
def test_a_checkpoint_is_known_by_its_hash(checkpoints: dict[str, str], name: str) -> None:
    read = match_registered(an_image(), RegisteredHashes(checkpoints, {}))
    assert (read.fields["checkpoint"], read.warnings) == (name, ())


def test_other_weights_under_the_name_of_the_checkpoint_are_warned_of() -> None:
    read = match_registered(an_image(), RegisteredHashes({"dreamy": OTHER, "plain": "ef" * 32}, {}))
    assert read.fields["checkpoint"] == "dreamy"
    assert read.warnings == (
        "'dreamy' is another checkpoint here: its hash is cdcdcdcdcd, the image's was ababababab",
    )


@pytest.mark.parametrize("registered", ["Dreamy", "DREAMY", "sub/dreamy.safetensors"])
def test_other_weights_under_a_similar_name_are_warned_of(registered: str) -> None:
    text = f"a fox\nSteps: 3, Seed: 1, Sampler: Euler, Model hash: {MADE[:10]}, Model: {registered}"
    read = match_registered(read_infotext(text), RegisteredHashes({"dreamy": OTHER}, {}))
    assert any(warning.startswith("'dreamy' is another checkpoint here") for warning in read.warnings)


@pytest.mark.parametrize("known", ["", "Model hash: abababab, "])
def test_a_text_without_a_hash_that_can_be_compared_keeps_its_checkpoint(known: str) -> None:
    text = f"a fox\nSteps: 3, Seed: 1, Sampler: Euler, {known}RNG: CPU, Model: dreamy"
    read = match_registered(read_infotext(text), RegisteredHashes({"dreamy": OTHER}, {}))
    assert (read.fields["checkpoint"], read.warnings) == ("dreamy", ())


def test_an_unknown_checkpoint_keeps_its_name_without_a_warning() -> None:
    read = match_registered(an_image(), RegisteredHashes({"plain": OTHER}, {}))
    assert (read.fields["checkpoint"], read.warnings) == ("dreamy", ())


@pytest.mark.parametrize(
    ("addons", "warnings"),
    [
        ({("lora", "ink"): MADE}, ()),
        (
            {("lora", "ink"): OTHER},
            ("'ink' is another LoRA here: its hash is cdcdcdcdcd, the image's was ababababab",),
        ),
        ({("embedding", "ink"): MADE}, ("there is no LoRA 'ink' here",)),
        (
            {("lora", "pen"): MADE},
            ("there is no LoRA 'ink' here; the one that the image was made with is called 'pen' here",),
        ),
    ],
)
def test_a_lora_that_differs_from_the_images_is_warned_of(
    addons: dict[tuple[str, str], str], warnings: tuple[str, ...]
) -> None:
    read = an_image(prompt="a fox <lora:ink:1>", loras=(LoraRef(name="ink", sha256=MADE),))
    assert match_registered(read, RegisteredHashes({"dreamy": MADE}, addons)).warnings == warnings


def test_vaes_and_embeddings_are_compared_too() -> None:
    ref = AddonRef(name="easy", sha256=MADE)
    said = match_registered(
        an_image(vae=ref, embeddings=(ref,)), RegisteredHashes({"dreamy": MADE}, {("vae", "easy"): OTHER})
    )
    assert said.warnings == (
        "'easy' is another VAE here: its hash is cdcdcdcdcd, the image's was ababababab",
        "there is no embedding 'easy' here",
    )


FILE, TENSORS = "12" * 32, "34" * 32
SETTINGS = "Steps: 3, Seed: 1, Sampler: Euler, RNG: CPU, Model: dreamy"


def said_of(items: str, *, sources: tuple[str, ...] = (FILE, TENSORS), name: str = "ink") -> tuple[str, ...]:
    """What is said of an image of the WebUI, where one addon of each kind is registered."""
    keys = [(kind, name) for kind in ("vae", "lora", "embedding")]
    here = RegisteredHashes({"dreamy": MADE}, dict.fromkeys(keys, OTHER), dict.fromkeys(keys, sources))
    return match_registered(read_infotext(f"a fox\n{SETTINGS}, {items}"), here).warnings


@pytest.mark.parametrize(
    "items",
    [
        f'Lora hashes: "ink: {TENSORS[:12]}"',
        f'Lora hashes: "ink: {FILE[:10]}"',
        f'Lora hashes: "ink: {FILE.upper()}"',
        f'TI hashes: "ink: {FILE[:12]}"',
        f"VAE hash: {FILE[:10]}, VAE: ink.safetensors",
        f'Hashes: {{"lora:ink": "{FILE[:10]}"}}',
        'Lora hashes: "ink: "',
        'TI hashes: "ink: abc"',
    ],
)
def test_an_addon_of_another_tool_is_known_by_the_hashes_of_its_file(items: str) -> None:
    assert said_of(items) == ()


@pytest.mark.parametrize(
    ("items", "title", "known"),
    [
        ('Lora hashes: "ink: 111111111111"', "LoRA", TENSORS),
        ('TI hashes: "ink: 111111111111"', "embedding", FILE),
        ("VAE hash: 1111111111, VAE: ink.pt", "VAE", FILE),
        ('Hashes: {"embed:ink": "1111111111"}', "embedding", FILE),
    ],
)
def test_an_addon_of_another_tool_that_differs_here_is_warned_of(items: str, title: str, known: str) -> None:
    told = f"'ink' is another {title} here: its hash is {known[:10]}, the image's was 1111111111"
    assert said_of(items) == (told,)


@pytest.mark.parametrize("name", ["my-ink", "My Ink", "MY_INK"])
def test_an_addon_that_is_registered_in_another_spelling_is_compared(name: str) -> None:
    [told] = said_of('Lora hashes: "my_ink: 111111111111"', name=name)
    assert told.startswith(f"{name!r} is another LoRA here")


def test_an_addon_without_source_hashes_is_reported_as_not_comparable() -> None:
    [told] = said_of('Lora hashes: "ink: 111111111111"', sources=())
    assert told.startswith("it is not known whether the LoRA 'ink' here is the image's")


def test_an_addon_registered_under_another_name_is_reported_with_that_name() -> None:
    assert said_of(f'Lora hashes: "pen: {TENSORS[:12]}"') == (
        "there is no LoRA 'pen' here; the one that the image was made with is called 'ink' here",
    )

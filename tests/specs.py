"""Specs of every mode, drawn by Hypothesis: all that a spec may say, with texts that are hard to quote."""

from typing import Any, get_args

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from farm.spec import fields
from farm.spec.hires import Hires
from farm.spec.image import (
    AddonRef,
    ImageSpec,
    ImageToImageSpec,
    InpaintSpec,
    LoraRef,
    OutpaintSpec,
    TextToImageSpec,
    UpscaleSpec,
)
from farm.spec.samplers import AUTOMATIC, SAMPLERS

_HARD = (
    *("\n", "\r\n", "\n\n", " ", "\t", "\u2028", "\x85", ",", ":", '"', "\\", "\\n", "{}", "<lora:ink:0.8>"),
    *(
        "Negative prompt:",
        "\nNegative prompt: fog",
        "Steps: 20, Sampler: Euler, CFG scale: 7, Seed: 1",
        "\u706f\u53f0",
    ),
    *("\U0001f98a", ", Seed: 5, ", "512x512", 'Model: "a, b"'),
)
TEXTS = st.lists(
    st.sampled_from(_HARD)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
    max_size=8,
).map("".join)
"""Any prompt; most are made of what a parameters text is made of."""

PLAIN_TEXTS = st.text("abc xyz().,:!?\u00fc\u706f\n", max_size=40).map(str.strip)
NAMES = (TEXTS | st.just("demo")).map(lambda text: text[:200]).filter(bool)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
SIDES = st.integers(8, 1024).map(lambda eighth: eighth * 8)
STRENGTHS = st.floats(0, 1, exclude_min=True)
PIXELS = st.integers(0, 4096)
WEIGHTS = st.floats(-10, 10)


def choice(annotated: Any) -> SearchStrategy[str]:
    return st.sampled_from(get_args(get_args(annotated)[0]))


PAIRS = st.sampled_from(
    [(name, type_) for name, known in SAMPLERS.items() for type_ in (AUTOMATIC, *known.schedules)]
)
HIRES = st.one_of(
    st.builds(
        Hires, scale=st.floats(1, 8, exclude_min=True), strength=STRENGTHS, upscaler=choice(fields.HiresUpscaler)
    ),
    st.builds(
        Hires,
        width=SIDES,
        height=SIDES,
        num_inference_steps=st.integers(1, 50),
        strength=STRENGTHS,
        upscaler=choice(fields.HiresUpscaler),
    ),
)
DRAWN: dict[str, SearchStrategy[Any]] = {
    "checkpoint": NAMES,
    "vae": st.none() | st.builds(AddonRef, name=NAMES, sha256=DIGESTS),
    "loras": st.lists(
        st.builds(LoraRef, name=NAMES, sha256=DIGESTS, weight=WEIGHTS, text_weight=st.none() | WEIGHTS), max_size=2
    ).map(tuple),
    "embeddings": st.lists(st.builds(AddonRef, name=NAMES, sha256=DIGESTS), max_size=2).map(tuple),
    "prompt": TEXTS,
    "negative_prompt": TEXTS,
    "width": SIDES,
    "height": SIDES,
    "num_inference_steps": st.integers(1, 50),
    "guidance_scale": st.floats(0, 30),
    "pair": PAIRS,
    "clip_skip": st.integers(1, 12),
    "seed": st.integers(0, 2**32 - 1),
    "deterministic": st.booleans(),
    "quality": st.none() | st.integers(1, 100),
}
OVER = {"image": DIGESTS, "strength": STRENGTHS}
OWN: dict[type[ImageSpec], dict[str, SearchStrategy[Any]]] = {
    TextToImageSpec: {"hires": st.none() | HIRES},
    ImageToImageSpec: {**OVER, "resize_mode": choice(fields.ResizeMode)},
    InpaintSpec: {
        **OVER,
        "mask": DIGESTS,
        "resize_mode": choice(fields.ResizeMode),
        "masked_content": choice(fields.MaskedContent),
        "area": choice(fields.InpaintArea),
        "padding": PIXELS | st.just(32),
        "mask_blur": st.integers(0, 64),
        "invert_mask": st.booleans(),
        "input_size": st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
    },
    OutpaintSpec: {
        **OVER,
        **dict.fromkeys(("left", "right", "top", "bottom"), PIXELS),
        "mask_blur": st.integers(0, 64),
    },
    UpscaleSpec: {
        **OVER,
        "upscaler": choice(fields.UpscaleMethod),
        "tile": st.just(512),
        "overlap": st.integers(0, 256),
    },
}


def _made(kind: type[ImageSpec], pair: tuple[str, str], **values: Any) -> ImageSpec:
    return kind(sampler=pair[0], schedule_type=pair[1], **values)


def specs(**fixed: SearchStrategy[Any]) -> SearchStrategy[ImageSpec]:
    """Specs of all modes; `fixed` takes the place of what is drawn for these fields."""
    formats = st.sampled_from(get_args(fields.ImageFormat))
    common = {**DRAWN, "image_format": formats, **fixed}
    return st.one_of([st.builds(_made, st.just(kind), **{**common, **own}) for kind, own in OWN.items()])

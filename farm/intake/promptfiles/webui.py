"""The requests of AUTOMATIC1111's WebUI, and what its settings come to here.

The names are those of its API (`/sdapi/v1/txt2img` and `img2img`, release 1.10) and of its script "Prompts from
file". What the farm does otherwise, or not at all, is refused by name unless it is switched off, as in a whole
request that somebody copied.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from farm.errors import FieldProblem
from farm.formats.delimited import canonical
from farm.intake.promptfiles.entries import Misread

_HIRES: Mapping[str, str] = {
    "hr_scale": "scale",
    "hr_resize_x": "width",
    "hr_resize_y": "height",
    "hr_second_pass_steps": "num_inference_steps",
    "hr_upscaler": "upscaler",
}
_OVERRIDDEN: Mapping[str, str] = {
    "sd_model_checkpoint": "checkpoint",
    "sd_vae": "vae",
    "clip_stop_at_last_layers": "clip_skip",
}
_COUNTS = ("batch_size", "n_iter")
_COUNT = re.compile(r"[1-9][0-9]{0,5}")
_RESIZES = ("stretch", "crop", "fill", "latent")
_FILLINGS = ("fill", "original", "latent_noise", "latent_nothing")

_NOTHING = frozenset({"", "0", "0.0", "false", "none", "null", "[]", "{}", "-1"})

# Switched off they say nothing; of some the usual value says nothing either.
_UNSUPPORTED: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(
        (
            *("subseed_strength", "seed_resize_from_h", "seed_resize_from_w", "restore_faces", "tiling", "eta"),
            *("do_not_save_samples", "outpath_samples", "outpath_grids", "prompt_for_display", "s_churn"),
            *("s_tmin", "s_min_uncond", "refiner_checkpoint", "refiner_switch_at", "firstpass_image", "comments"),
            *("firstphase_width", "firstphase_height", "hr_checkpoint_name", "hr_sampler_name", "hr_scheduler"),
            *("hr_prompt", "hr_negative_prompt", "script_name", "script_args", "alwayson_scripts", "infotext"),
            *("latent_mask", "mask_round", "sampler_index"),
        ),
        _NOTHING,
    ),
    "s_tmax": _NOTHING | {"inf", "infinity", "999"},
    "s_noise": _NOTHING | {"1", "1.0"},
    "disable_extra_networks": _NOTHING,
    "image_cfg_scale": _NOTHING | {"1.5"},
    "initial_noise_multiplier": _NOTHING | {"1", "1.0"},
    "mask_blur_x": _NOTHING | {"4"},
    "mask_blur_y": _NOTHING | {"4"},
}
_WHY: Mapping[str, str] = {
    "sampler_index": "counts the samplers of one release; name it with `sampler_name`",
    "outpath_samples": "is no matter of a prompt: `--download` says where the images go",
    "outpath_grids": "is no matter of a prompt: `--download` says where the images go",
    "do_not_save_samples": "cannot be: every image is stored",
    "prompt_for_display": "is not kept apart from the prompt",
}
# Only how the WebUI answers, what else it saves, or what follows from a strength of 0.
_NO_MATTER = frozenset(
    {
        *("do_not_save_grid", "send_images", "save_images", "force_task_id", "subseed", "include_init_images"),
        *("override_settings_restore_afterwards",),
    }
)
_SECOND_PASS = frozenset({"enable_hr", *_HIRES})
_MASKED: Mapping[str, str] = {
    "inpainting_fill": "masked_content",
    "inpaint_full_res": "area",
    "inpaint_full_res_padding": "padding",
    "inpainting_mask_invert": "invert_mask",
}
SETTINGS = frozenset(
    {*_UNSUPPORTED, *_NO_MATTER, *_SECOND_PASS, *_MASKED, *_COUNTS, "init_images", "override_settings"}
)


def apply(own: dict[str, Any], foreign: dict[str, Any]) -> list[FieldProblem]:
    """Add what the WebUI's settings come to here to the fields of a row; return what cannot be done.

    `own` has the names of a request, `foreign` those of SETTINGS.
    """
    if isinstance(index := foreign.get("sampler_index"), str) and not index.strip().isdecimal():
        # The API's older name for the name; the newer one goes before it.
        del foreign["sampler_index"]
        own.setdefault("sampler", index)
    problems = list(_unsupported(foreign))
    for make in (_counted, _overridden, _second_pass, _pictures):
        try:
            make(own, foreign)
        except Misread as misread:
            problems += misread.problems
    return problems


def _unsupported(foreign: Mapping[str, Any]) -> Iterator[FieldProblem]:
    for name, value in foreign.items():
        if name in _UNSUPPORTED and not _is_off(value, _UNSUPPORTED[name]):
            # Settings of a second pass say nothing where there is none.
            if name.startswith("hr_") and _is_off(foreign.get("enable_hr")):
                continue
            if value in ("Use same checkpoint", "Use same sampler", "Use same scheduler"):
                continue
            yield FieldProblem(name, _WHY.get(name, "is understood, and not rendered here; leave it out"))


def _is_off(value: Any, nothing: frozenset[str] = _NOTHING) -> bool:
    return str(value).strip().casefold() in nothing


def _set(own: dict[str, Any], name: str, value: Any, written: str) -> None:
    if name in own:
        raise Misread.at(name, f"is said twice, the second time by `{written}`")
    own[name] = value


def _counted(own: dict[str, Any], foreign: Mapping[str, Any]) -> None:
    """The WebUI renders `n_iter` batches of `batch_size`."""
    counts = {name: foreign[name] for name in _COUNTS if foreign.get(name) not in (None, "")}
    total = 1
    for name, value in counts.items():
        text = str(value)
        if isinstance(value, bool) or not _COUNT.fullmatch(text):
            raise Misread.at(name, f"{text[:40]!r} is not a count of images")
        total *= int(text)
    if counts:
        _set(own, "images_per_prompt", total, " and ".join(counts))


def _overridden(own: dict[str, Any], foreign: Mapping[str, Any]) -> None:
    override = foreign.get("override_settings")
    if override in (None, "", {}):
        return
    if not isinstance(override, Mapping):
        raise Misread.at("override_settings", "must be an object")
    for written, value in override.items():
        name = _OVERRIDDEN.get(canonical(written))
        if name is None:
            message = f"is not rendered here; known are {', '.join(_OVERRIDDEN)}"
            raise Misread.at(f"override_settings.{written}", message)
        if name == "vae" and str(value).casefold() in ("automatic", "none", ""):
            continue
        _set(own, name, value, f"override_settings.{written}")


def _second_pass(own: dict[str, Any], foreign: Mapping[str, Any]) -> None:
    """With `enable_hr` the denoising strength is the second pass's."""
    if _is_off(foreign.get("enable_hr")):
        if not _SECOND_PASS & foreign.keys() or "init_images" in foreign or "image" in own:
            return
        if _is_off(own.get("strength", "")):
            own.pop("strength", None)
        return
    hires = {field: foreign[name] for name, field in _HIRES.items() if not _is_off(foreign.get(name))}
    if {"width", "height"} & hires.keys():
        hires.pop("scale", None)
    elif "scale" not in hires:
        hires["scale"] = 2
    if "strength" in own:
        hires["strength"] = own.pop("strength")
    _set(own, "hires", hires, "enable_hr")


def _pictures(own: dict[str, Any], foreign: Mapping[str, Any]) -> None:
    images = foreign.get("init_images")
    if not _is_off(images):
        if not isinstance(images, list) or len(images) != 1:
            raise Misread.at("init_images", "must be a list of one picture")
        _set(own, "image", images[0], "init_images")
    if _is_number(own.get("resize_mode")):
        own["resize_mode"] = _word(own["resize_mode"], _RESIZES, "resize_mode")
    if own.get("mask"):
        for name, field in _MASKED.items():
            if foreign.get(name) not in (None, ""):
                _set(own, field, _READ_MASKED[name](foreign[name]), name)
    elif "image" in own and "init_images" in foreign:
        own.pop("mask_blur", None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool) and str(value).strip().isdecimal()


def _word(number: Any, words: tuple[str, ...], field: str) -> str:
    if not _is_number(number) or len(str(number)) > 3 or int(number) >= len(words):
        raise Misread.at(field, f"{str(number)[:40]!r} is not one of 0 to {len(words) - 1}")
    return words[int(number)]


_READ_MASKED: Mapping[str, Callable[[Any], Any]] = {
    "inpainting_fill": lambda value: _word(value, _FILLINGS, "inpainting_fill"),
    "inpaint_full_res": lambda value: "whole" if _is_off(value) else "masked",
    "inpaint_full_res_padding": lambda value: value,
    "inpainting_mask_invert": lambda value: not _is_off(value),
}

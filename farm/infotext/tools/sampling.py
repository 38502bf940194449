"""The names that other tools have for samplers and schedules, and the WebUI's for the same.

A name that is in no table stays as it is: the check of the field refuses it and lists the known names.
"""

from typing import Any

from farm.infotext.tools.jsontext import read_string

# k-diffusion's, which ComfyUI, SwarmUI and Fooocus have too. To ComfyUI DDIM is Euler with a schedule of its own.
_SAMPLERS = {
    "euler": "Euler",
    "euler_ancestral": "Euler a",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpm_2": "DPM2",
    "dpm2": "DPM2",
    "dpm_2_ancestral": "DPM2 a",
    "dpm2_a": "DPM2 a",
    "lms": "LMS",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_sde_gpu": "DPM++ SDE",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2m_sde_gpu": "DPM++ 2M SDE",
    "dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun",
    "dpmpp_2m_sde_heun_gpu": "DPM++ 2M SDE Heun",
    "dpmpp_3m_sde": "DPM++ 3M SDE",
    "dpmpp_3m_sde_gpu": "DPM++ 3M SDE",
    "ddim": "DDIM",
    "plms": "PLMS",
    "uni_pc": "UniPC",
    "lcm": "LCM",
}
_SCHEDULES = {
    "normal": "Normal",
    "karras": "Karras",
    "exponential": "Exponential",
    "sgm_uniform": "SGM Uniform",
    "simple": "Simple",
    "ddim_uniform": "DDIM",
    "ddim": "DDIM",
    "beta": "Beta",
}
# diffusers' classes as InvokeAI names them; `_k` at the end stands for Karras.
_INVOKE = {
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "kdpm_2": "DPM2",
    "kdpm_2_a": "DPM2 a",
    "lms": "LMS",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_sde": "DPM++ SDE",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "ddim": "DDIM",
    "pndm": "PLMS",
    "unipc": "UniPC",
    "lcm": "LCM",
}
_OF_THEIR_OWN = ("DDIM", "PLMS", "UniPC", "LCM")


def translate_sampler(value: Any) -> str:
    name = read_string(value)
    return _SAMPLERS.get(name, name)


def translate_comfy_sampler(value: Any) -> str:
    name = read_string(value)
    return "Euler" if name == "ddim" else translate_sampler(name)


def translate_schedule(value: Any) -> str:
    name = read_string(value)
    return _SCHEDULES.get(name, name)


def translate_invoke_sampler(name: str) -> dict[str, str]:
    """Sampler and schedule type by a scheduler's name, as fields."""
    base = name.removesuffix("_k")
    if base not in _INVOKE:
        return {"sampler": name}
    sampler = _INVOKE[base]
    if sampler in _OF_THEIR_OWN:
        return {"sampler": sampler}
    # The spacing that diffusers uses, where Automatic would be Karras for some samplers.
    plain = "SGM Uniform" if sampler.startswith("DPM++ 2M") else "Uniform"
    return {"sampler": sampler, "schedule_type": "Karras" if name.endswith("_k") else plain}

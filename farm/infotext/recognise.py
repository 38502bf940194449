"""Which tool wrote a text, and the reader for it. A text of any other tool is refused, with its keys named.

To add a tool: a module in `farm.infotext.tools`, and its line in a table here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from farm.errors import InvalidRequest
from farm.infotext.reader import is_parameters, read_parameters
from farm.infotext.result import Infotext, NotRead, shorten
from farm.infotext.tools import civitai, comfy, drawthings, easydiffusion, fooocus, invoke, swarm
from farm.infotext.tools.jsontext import looks_like_json, read_object

PARAMETERS = "parameters"
KNOWN = "A1111, Forge, SD.Next, SwarmUI, Fooocus, ComfyUI, InvokeAI, Draw Things, Easy Diffusion, Civitai"

Is = Callable[[Mapping[str, Any]], bool]
Read = Callable[[Mapping[str, Any]], Infotext]

_JSON: Sequence[tuple[Is, Read]] = (
    (lambda data: swarm.MARK in data, swarm.read_swarm),
    (lambda data: civitai.MARK in data, civitai.read_civitai),
    (comfy.is_comfy, comfy.read_comfy),
    (lambda data: any(mark in data for mark in fooocus.MARKS), fooocus.read_fooocus),
    (easydiffusion.is_easy, easydiffusion.read_easy),
    (lambda data: all(mark in data for mark in drawthings.MARKS), drawthings.read_drawthings),
    (lambda data: "positive_prompt" in data, invoke.read_invoke),
)
"""The tools whose texts are JSON, by what only theirs have in them."""

_REFUSED_JSON: Sequence[tuple[Sequence[str], str]] = (
    (("uc", "scale", "sampler"), "of NovelAI, whose models and prompt language are its own"),
    (("request_type",), "of NovelAI, whose models and prompt language are its own"),
    (("base_model_name", "software"), "of RuinedFooocus"),
    (("nodes", "links"), "that is ComfyUI's workflow for its editor alone, without the prompt that was rendered"),
)

_REFUSED_CHUNKS: Mapping[str, str] = {
    "sd-metadata": "holds a text of InvokeAI before release 3, which is not read",
    "Dream": "holds a command of InvokeAI before release 3, which is not read",
    "generation_data": "holds a text of TensorArt, which is not read",
    "workflow": "holds ComfyUI's workflow for its editor alone, without the prompt that was rendered",
}
_NOVELAI = "holds a text of NovelAI, whose models and prompt language are its own: it is not read"

_COMMENTS = (
    *("EXIF UserComment", "XMP UserComment", "JPEG comment", "EXIF ImageDescription"),
    *("Comment", "Description"),
)
# As ComfyUI writes WebP: `prompt:{...}` and `workflow:{...}` for the model and make of a camera.
_CAMERAS = ("EXIF Model", "EXIF Make")
_PROMPT_PREFIX = "prompt:"
_MOST_NAMED = 10


def read_infotext(text: str) -> Infotext:
    """Read a text for a job that makes its image again. Raises InvalidRequest where that is not possible."""
    try:
        return read_texts({PARAMETERS: text})
    except NotRead as error:
        raise InvalidRequest.at(PARAMETERS, str(error)) from None


def read_texts(texts: Mapping[str, str]) -> Infotext:
    """What the texts of a file ask for; they are named by the PNG chunk or by the place that they stand in.

    Raises NotRead where none is of a tool that is known, or the one that is cannot be read.
    """
    try:
        return _read(texts)
    except RecursionError:
        raise NotRead("holds a text that is nested too deeply") from None


def _read(texts: Mapping[str, str]) -> Infotext:
    if PARAMETERS in texts:
        return _read_text(texts[PARAMETERS], "a parameters text")
    if looks_like_json(texts.get("invokeai_metadata", "")):
        return invoke.read_invoke(read_object(texts["invokeai_metadata"], "a text of InvokeAI"))
    if looks_like_json(texts.get("prompt", "")):
        # ComfyUI writes NaN for nodes that are to run each time.
        return comfy.read_comfy(read_object(texts["prompt"], "a workflow of ComfyUI", lambda _constant: None))
    if texts.get("Software") == "NovelAI":
        raise NotRead(_NOVELAI)
    if easydiffusion.is_easy(texts):
        return easydiffusion.read_easy(texts)
    for chunk, refusal in _REFUSED_CHUNKS.items():
        if chunk in texts:
            raise NotRead(refusal)
    return _read_comment(texts)


def _read_comment(texts: Mapping[str, str]) -> Infotext:
    """Comments may be about anything: only a text that is certainly a tool's is read."""
    for place in _CAMERAS:
        text = texts.get(place, "").removeprefix(_PROMPT_PREFIX)
        if looks_like_json(text):
            return _read_text(text, f"a text, in {place},")
    for place in _COMMENTS:
        text = texts.get(place, "")
        if looks_like_json(text) or is_parameters(text):
            return _read_text(text, f"a text, in {place},")
    named = [f"{shorten(text)} in {shorten(place)[1:-1]}" for place, text in texts.items() if text]
    if not named:
        raise NotRead("holds no parameters text")
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    raise NotRead(
        f"holds no parameters text of a tool that is known ({KNOWN}), but {', '.join(named[:_MOST_NAMED])}{more}"
    )


def _read_text(text: str, what: str) -> Infotext:
    text = text.removeprefix("\ufeff")
    if not looks_like_json(text):
        return easydiffusion.read_labelled(text) if easydiffusion.is_labelled(text) else read_parameters(text)
    data = read_object(text, what)
    for is_tools, read in _JSON:
        if is_tools(data):
            return read(data)
    for keys, refusal in _REFUSED_JSON:
        if all(key in data for key in keys):
            raise NotRead(f"holds a text {refusal}: it is not read")
    names = ", ".join(shorten(key) for key in list(data)[:_MOST_NAMED])
    raise NotRead(f"holds JSON of a tool that is not known, with {names}; known are {KNOWN}")

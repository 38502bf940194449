"""The prompt language of ComfyUI, and of what renders by it, in the WebUI's words."""

import re

from farm.infotext.tools.jsontext import Taken

_EMBEDDING = re.compile(r"\bembedding:(?:[\w .-]*[/\\])?([\w.-]+?)(?:\.(?:pt|safetensors|bin))?(?=$|[\s,:()\[\]])")
_BRACKET = re.compile(r"(?<!\\)[\[\]]")
_WORD = re.compile(r"\b(?:AND|BREAK)\b")


def in_webui_words(prompt: str, taken: Taken) -> str:
    """Brackets mean nothing to ComfyUI and less attention to the WebUI; an embedding is called by its name."""
    if _WORD.search(prompt):
        taken.warnings.append(f"AND and BREAK are words to {taken.tool}, and divide a prompt here")
    return _BRACKET.sub(lambda match: "\\" + match[0], _EMBEDDING.sub(r"\1", prompt))

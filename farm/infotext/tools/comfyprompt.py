"""Prompts of ComfyUI, and of tools that use its prompt language, rewritten in the WebUI's."""

import re

from farm.infotext.tools.jsontext import ToolValues

_EMBEDDING = re.compile(r"\bembedding:(?:[\w .-]*[/\\])?([\w.-]+?)(?:\.(?:pt|safetensors|bin))?(?=$|[\s,:()\[\]])")
_BRACKET = re.compile(r"(?<!\\)[\[\]]")
_WORD = re.compile(r"\b(?:AND|BREAK)\b")


def translate_prompt(prompt: str, collected: ToolValues) -> str:
    """Escape square brackets, which are text to ComfyUI and less attention to the WebUI; name embeddings alone."""
    if _WORD.search(prompt):
        collected.warnings.append(f"AND and BREAK are plain words in {collected.tool}, but divide a prompt here")
    return _BRACKET.sub(lambda match: "\\" + match[0], _EMBEDDING.sub(r"\1", prompt))

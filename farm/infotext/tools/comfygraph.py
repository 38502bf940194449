"""The nodes of a ComfyUI prompt, and the links between them.

A node is `{"class_type": ..., "inputs": {...}}` under its id; an input is a value, or a link `[id, output]`.
Every refusal names the node.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farm.infotext.result import NotRead, shorten

# Nodes that hold one value, and their input with it.
_HOLDERS = {
    "PrimitiveInt": "value",
    "PrimitiveFloat": "value",
    "PrimitiveString": "value",
    "PrimitiveStringMultiline": "value",
    "String Literal": "string",
    "Text Multiline": "text",
}


def unreadable_workflow(why: str) -> NotRead:
    return NotRead(f"holds a workflow of ComfyUI that is not read: {why}")


@dataclass(frozen=True)
class ComfyNode:
    id: str
    kind: str
    inputs: Mapping[str, Any]

    def __str__(self) -> str:
        return f"node {shorten(self.id)[1:-1]} ({shorten(self.kind)[1:-1]})"


@dataclass(frozen=True)
class Graph:
    nodes: Mapping[str, ComfyNode]

    def target(self, node: ComfyNode, name: str) -> ComfyNode:
        """The node that an input is linked to."""
        link: Any = node.inputs.get(name)
        found = self.nodes.get(str(link[0])) if _is_link(link) else None
        if found is None:
            raise unreadable_workflow(f"{node} has no {name} that is linked to a node")
        return found

    def value(self, node: ComfyNode, name: str) -> Any:
        """The value of an input, or of the node that only holds it."""
        if not _is_link(node.inputs.get(name)):
            return node.inputs.get(name)
        holder = self.target(node, name)
        if holder.kind not in _HOLDERS or _is_link(held := holder.inputs.get(_HOLDERS[holder.kind])):
            raise unreadable_workflow(f"the {name} of {node} comes from {holder}, which is not supported")
        return held

    def find_end_nodes(self) -> list[ComfyNode]:
        """The nodes that take images and to which nothing is linked: what was saved."""
        used = {str(link[0]) for node in self.nodes.values() for link in node.inputs.values() if _is_link(link)}
        return [
            node
            for node in self.nodes.values()
            if node.id not in used and any(_is_link(node.inputs.get(name)) for name in ("images", "image"))
        ]


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int)


def build_graph(data: Mapping[str, Any]) -> Graph:
    """The graph of a prompt. Raises NotRead where the data is not one."""
    nodes = {}
    for id, node in data.items():
        if not isinstance(node, dict) or not isinstance(node.get("inputs"), dict):
            raise unreadable_workflow(f"{shorten(id)} is not a node")
        nodes[id] = ComfyNode(id, str(node.get("class_type")), node["inputs"])
    return Graph(nodes)

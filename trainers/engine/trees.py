"""Trees of plain values and NumPy arrays as JSON and a list of arrays: for files, and between workers."""

import json
from typing import Any

import numpy as np

Tree = Any  # dicts with string keys, lists, numbers, strings, None and NumPy arrays


def flatten(tree: Tree) -> tuple[bytes, list[np.ndarray]]:
    """A tree's plain values as JSON, and its arrays; the JSON also tells their dtypes and shapes."""
    arrays: list[np.ndarray] = []

    def walk(node):
        if isinstance(node, np.ndarray):
            arrays.append(node)
            return {"array": len(arrays) - 1}
        if isinstance(node, dict):
            return {name: walk(value) for name, value in node.items()}
        if isinstance(node, (list, tuple)):
            return [walk(value) for value in node]
        return node.item() if isinstance(node, np.generic) else node

    plain = walk(tree)
    return json.dumps({"tree": plain, "arrays": [[str(a.dtype), a.shape] for a in arrays]}).encode(), arrays


def array_specs(state: bytes) -> list[tuple[str, list[int]]]:
    """Dtypes and shapes of the arrays that belong to a state."""
    return [(dtype, shape) for dtype, shape in json.loads(state)["arrays"]]


def unflatten(state: bytes, arrays: list[np.ndarray]) -> Tree:
    """The tree that `flatten` flattened."""
    return _with_arrays(json.loads(state)["tree"], arrays)


def _with_arrays(node: Any, arrays: list[np.ndarray]) -> Tree:
    if isinstance(node, dict):
        if node.keys() == {"array"}:
            return arrays[node["array"]]
        return {name: _with_arrays(value, arrays) for name, value in node.items()}
    return [_with_arrays(value, arrays) for value in node] if isinstance(node, list) else node

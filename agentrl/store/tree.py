"""Nested state (optimiser, random generators) as named tensors and JSON: no pickle."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np

_TAG = "$"


def flatten(value: Any, tensors: dict[str, Any]) -> Any:
    """JSON for `value`; its tensors and arrays are put into `tensors` under new names.

    Takes None, bool, int, float, str, bytes, list, tuple, dict (any of these as keys), torch
    tensors and numpy arrays and scalars. Raises TypeError for anything else: a checkpoint that
    silently leaves something out is worse than none.
    """
    import torch

    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and not isinstance(value, np.generic):
        return value if math.isfinite(value) else {_TAG: "float", "value": repr(value)}
    if isinstance(value, bytes):
        return {_TAG: "bytes", "value": base64.b64encode(value).decode("ascii")}
    if isinstance(value, torch.Tensor):
        name = f"{len(tensors)}"
        tensors[name] = value
        return {_TAG: "tensor", "name": name}
    if isinstance(value, np.ndarray | np.generic):
        return _flatten_array(np.asarray(value), isinstance(value, np.generic))
    if isinstance(value, list):
        return [flatten(item, tensors) for item in value]
    if isinstance(value, tuple):
        return {_TAG: "tuple", "value": [flatten(item, tensors) for item in value]}
    if isinstance(value, dict):
        if all(isinstance(key, str) and key != _TAG for key in value):
            return {key: flatten(item, tensors) for key, item in value.items()}
        pairs = [[flatten(k, tensors), flatten(v, tensors)] for k, v in value.items()]
        return {_TAG: "dict", "value": pairs}
    raise TypeError(f"a checkpoint cannot hold a {type(value).__module__}.{type(value).__name__}")


def _flatten_array(array: np.ndarray, scalar: bool) -> dict[str, Any]:
    if array.dtype.hasobject:
        raise TypeError("a checkpoint cannot hold a numpy array of objects")
    return {
        _TAG: "array",
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "scalar": scalar,
        "value": base64.b64encode(array.tobytes()).decode("ascii"),
    }


def unflatten(value: Any, tensors: dict[str, Any]) -> Any:
    """The inverse of `flatten`."""
    if isinstance(value, list):
        return [unflatten(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    tag = value.get(_TAG)
    if tag is None:
        return {key: unflatten(item, tensors) for key, item in value.items()}
    if tag == "tensor":
        return tensors[value["name"]]
    if tag == "float":
        return float(value["value"])
    if tag == "bytes":
        return base64.b64decode(value["value"])
    if tag == "tuple":
        return tuple(unflatten(item, tensors) for item in value["value"])
    if tag == "dict":
        pairs = value["value"]
        return {unflatten(k, tensors): unflatten(v, tensors) for k, v in pairs}
    if tag == "array":
        data = bytearray(base64.b64decode(value["value"]))
        array = np.frombuffer(data, np.dtype(value["dtype"])).reshape(value["shape"])
        return array[()] if value["scalar"] else array
    raise ValueError(f"unknown kind of value {tag!r}")

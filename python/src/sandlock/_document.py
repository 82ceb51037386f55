"""The fields of a Sandbox as the JSON document that the library reads."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, Dict, List, Mapping, Tuple

_OF_A_RUN = frozenset(("name", "policy_fn"))


def to_document(sandbox: Any) -> Tuple[str, List[str]]:
    """The document of the fields that differ from their defaults, and the faults of those
    that JSON can't hold, which the document lacks."""
    out: Dict[str, str] = {}
    faults: List[str] = []
    for field in dataclasses.fields(sandbox):
        value = getattr(sandbox, field.name)
        if field.name in _OF_A_RUN or _is_default(field, value):
            continue
        if field.name in ("init_fn", "work_fn"):
            value = "set"
        try:
            out[field.name] = json.dumps(_plain(value), ensure_ascii=True, allow_nan=False)
        except (TypeError, ValueError) as e:
            faults.append(f"invalid sandbox: {field.name}: {e}")
    if sandbox.policy_fn is not None and not callable(sandbox.policy_fn):
        faults.append(f"invalid sandbox: policy_fn: {sandbox.policy_fn!r}: a callable is needed")
    return "{%s}" % ",".join(f'"{name}":{text}' for name, text in out.items()), faults


def _is_default(field: "dataclasses.Field[Any]", value: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == {})
    if field.default == () and value is not None and not isinstance(value, str):
        return len(value) == 0 if hasattr(value, "__len__") else False
    return bool(value == field.default)


def _plain(value: Any) -> Any:
    """The value as JSON can hold it. Bytes and paths become what os.fsdecode makes of
    them; its lone surrogates stand for raw bytes on the other side too."""
    if isinstance(value, (bytes, os.PathLike)):
        return os.fsdecode(value)
    if isinstance(value, str):
        os.fsencode(value)  # UnicodeEncodeError, a ValueError, for what no byte string is
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, (str, bytes, os.PathLike)):
                raise TypeError(f"{key!r}: the names are strings")
        return {_plain(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return [_plain(v) for v in value]
    return value

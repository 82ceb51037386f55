"""The small grammars that fields share."""

from __future__ import annotations

import re
from typing import Iterable, List, Set, Union

_SIZE = re.compile(r"\s*(\d+)(?:\.(\d+))?\s*([KMGT]?)\s*", re.IGNORECASE | re.ASCII)
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def parse_memory_size(text: Union[int, str]) -> int:
    """Bytes of ``digits[.digits] [K|M|G|T]``: any case, powers of 1024, truncated. An
    int is taken as it is. ValueError for anything else and beyond 64 bits."""
    if isinstance(text, int) and not isinstance(text, bool):
        size = text
    else:
        match = _SIZE.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise ValueError(f"size {text!r}: digits[.digits] [K|M|G|T] is needed, such as 64M")
        whole, fraction, unit = match.group(1), match.group(2) or "", match.group(3).upper()
        size = (int(whole + fraction) << _UNITS[unit]) // 10 ** len(fraction)
    if not 0 <= size < 1 << 64:
        raise ValueError(f"size {text!r}: it is not between 0 and 2**64 - 1 bytes")
    return size


def parse_ports(items: Iterable[Union[int, str]]) -> List[int]:
    """The ports of ints and strings ``N``, ``LO-HI`` and comma lists of them, sorted,
    each once. ValueError for anything else."""
    ports: Set[int] = set()
    for item in items:
        for part in str(item).split(","):
            match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part, re.ASCII)
            if match is None or isinstance(item, bool):
                raise ValueError(f"port {item!r}: N, LO-HI or a comma list of them is needed")
            low, high = int(match.group(1)), int(match.group(2) or match.group(1))
            if low > high:
                raise ValueError(f"port {item!r}: the range is reversed")
            if high > 65535:
                raise ValueError(f"port {item!r}: a port is at most 65535")
            ports.update(range(low, high + 1))
    return sorted(ports)

"""What the sources of a :class:`Gather` sent, for the consumer inside its sandbox::

    from sandlock import inputs
    print(inputs["left"], inputs["right"])
"""

from __future__ import annotations

import os
from typing import Dict, Iterator, Mapping

VARIABLE = "_SANDLOCK_GATHER"  # name:descriptor,…


class Inputs(Mapping[str, str]):
    """The text of each source by its name, UTF-8, with lone surrogates for bytes that are
    none. It is read to its end when it is first asked for, and kept. KeyError: there is no
    such source."""

    def __init__(self) -> None:
        self._texts: Dict[str, str] = {}

    @staticmethod
    def _descriptors() -> Dict[str, int]:
        entries = filter(None, os.environ.get(VARIABLE, "").split(","))
        return {name: int(fd) for name, _, fd in (entry.rpartition(":") for entry in entries)}

    def __getitem__(self, name: str) -> str:
        if name not in self._texts:
            with open(self._descriptors()[name], encoding="utf-8", errors="surrogateescape", newline="") as source:
                self._texts[name] = source.read()
        return self._texts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._descriptors())

    def __len__(self) -> int:
        return len(self._descriptors())


inputs = Inputs()

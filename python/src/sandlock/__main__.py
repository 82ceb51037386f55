"""``python -m sandlock``: the command-line tool."""

from __future__ import annotations

import os
import pathlib
import shutil
import sys


def main() -> None:
    """Becomes the tool: the one beside the package, or that of PATH."""
    beside = pathlib.Path(__file__).resolve().parent / "bin" / "sandlock"
    # The console script is called sandlock too, and would call itself.
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    script = os.path.dirname(os.path.realpath(sys.argv[0]))
    elsewhere = os.pathsep.join(entry for entry in path if os.path.realpath(entry) != script)
    tool = str(beside) if os.access(beside, os.X_OK) else shutil.which("sandlock", path=elsewhere)
    if tool is None:
        sys.stderr.write("sandlock: the tool is neither beside the package nor in PATH: make builds it\n")
        sys.exit(125)
    os.execv(tool, ["sandlock", *sys.argv[1:]])


if __name__ == "__main__":
    main()

"""Start-up: the command line answers at once, because nothing numeric is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from paired import Check, Timed


def _process(*words: str) -> Timed:
    return lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def _help(_: Path) -> tuple[Timed, Timed]:
    return _process(str(Path(sys.executable).with_name("brainlens")), "--help"), _process(
        sys.executable, "-c", "import time; time.sleep(0.3)"
    )


def _help_bare(_: Path) -> tuple[Timed, Timed]:
    return _process(str(Path(sys.executable).with_name("brainlens")), "--help"), _process(sys.executable, "-c", "pass")


def _import(_: Path) -> tuple[Timed, Timed]:
    return _process(sys.executable, "-c", "import brainlens"), _process(sys.executable, "-c", "pass")


CHECKS = [
    Check("brainlens --help, against 0.3 s", 1.0, "an interpreter that sleeps 0.3 s", _help),
    Check("brainlens --help, against a bare interpreter", 12.0, "python -c pass", _help_bare),
    Check("import brainlens, against a bare interpreter", 3.0, "python -c pass", _import),
]

"""The package as a program."""

from __future__ import annotations

import subprocess
import sys

import brainlens


def test_the_package_is_the_command() -> None:
    command = [sys.executable, "-m", "brainlens"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"brainlens, version {brainlens.__version__}\n"
    wrong = subprocess.run([*command, "lst"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("Usage: brainlens ")

"""Console transcripts in the documentation: read them, run them again, and compare without what must differ.

A transcript is a fenced block `console`: a line that begins with `$ ` is a command, lines that begin with `> ` go on
with it, and the lines after it are what it printed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from brainlens.cli import main

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# The front of an absolute path is the machine's own business; it is never written down.
_FRONT = re.compile(r"/[^\s'\"]*?/(?:checkout/|(?=shared/))")
# Moments, digests of what depends on moments or libraries, and sizes of files that hold either.
_LOOSE = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"), "<time>"),
    (re.compile(r"sha256:[0-9a-f]+"), "<digest>"),
    (re.compile(r" *\b\d+(?:\.\d+)? [kMG]?B\b *"), " <size> "),
    (re.compile(r"wall_s: [\d.]+"), "wall_s: <seconds>"),
)


@dataclass(frozen=True)
class Step:
    """One command and what it printed."""

    command: str
    output: str

    def text(self) -> str:
        """Return the step as it is written in a transcript."""
        first, *rest = self.command.split("\n")
        lines = [f"$ {first}", *(f"> {line}" for line in rest)]
        return "\n".join([*lines, *self.output.splitlines()])


def read_steps(block: str) -> list[Step]:
    """Return the steps of a transcript."""
    steps: list[tuple[list[str], list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            steps.append(([line[2:]], []))
        elif line.startswith("> ") and steps and not steps[-1][1]:
            steps[-1][0].append(line[2:])
        elif steps:
            steps[-1][1].append(line)
    return [Step("\n".join(command), "\n".join(output).strip("\n")) for command, output in steps]


def run_again(steps: list[Step], folder: Path) -> list[Step]:
    """Run the commands of a transcript one after another in a folder; return them with what they print now."""
    with contextlib.chdir(folder):
        return [Step(step.command, _FRONT.sub("…/", _run(step.command)).strip("\n")) for step in steps]


def loosen(text: str) -> str:
    """Replace what differs between two runs of the same command."""
    for pattern, word in _LOOSE:
        text = pattern.sub(word, text)
    return "\n".join(line.rstrip() for line in text.splitlines())


def _run(command: str) -> str:
    if command.startswith("brainlens "):
        # In this process: starting Python for each command would take most of the time.
        result = CliRunner().invoke(main, shlex.split(command.replace("\\\n", " "))[1:], prog_name="brainlens")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.output
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PATH": path},
        check=False,
    )
    return done.stdout

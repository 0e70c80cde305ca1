"""`python -m brainlens`, which is `brainlens`."""

from __future__ import annotations

from brainlens.cli import main

if __name__ == "__main__":
    main(prog_name="brainlens")

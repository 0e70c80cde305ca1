"""Run all benchmarks, print a table, and write `bench/results.json`: name, ratio, target, holds.

Every figure is a ratio to a peer or a limit that is measured in the same process, round by round; the median of the
rounds counts. Run it on a quiet machine: `make bench`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import diffusion
import encoding
import listing
import mindeye
import retrieval
import ridge
import startup
import storage
from paired import Check


def main() -> int:
    """Run the benchmarks that were asked for; return 1 if one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="only checks whose name contains one of these")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results.json")
    arguments = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="brainlens-bench-") as folder:
        checks: list[Check] = [
            check
            for module in (startup, listing, storage, ridge, encoding, mindeye, retrieval, diffusion)
            for check in module.CHECKS
        ]
        for check in checks:
            if arguments.names and not any(name in check.name for name in arguments.names):
                continue
            result = check.measure(Path(folder))
            results.append(result)
            verdict = "holds" if result["holds"] else "MISSED"
            print(f"{result['name']:<46} {result['ratio']:8.3f}  target {result['target']:<6} {verdict}", flush=True)
    if not arguments.names:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    return 0 if all(result["holds"] for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())

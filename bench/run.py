"""Run benchmarks, print a table, and write `bench/results.json`: name, ratio, target, holds.

Those that are named replace their lines and leave the others as they were.

Every figure is a ratio to a peer or a limit that is measured in the same process, round by round; the median of the
rounds counts. Run it on a quiet machine: `make bench`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

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
    arguments.out.write_text(json.dumps(_renewed(arguments.out, results, checks), indent=1) + "\n")
    return 0 if all(result["holds"] for result in results) else 1


def _renewed(out: Path, results: list[dict[str, Any]], checks: list[Check]) -> list[dict[str, Any]]:
    """Return new results with those that were not measured now, in the order of the checks."""
    before = json.loads(out.read_text("utf-8")) if out.exists() else []
    known = {result["name"]: result for result in [*before, *results]}
    return [known[check.name] for check in checks if check.name in known]


if __name__ == "__main__":
    raise SystemExit(main())

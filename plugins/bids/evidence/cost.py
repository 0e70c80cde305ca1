"""What importing a subject costs: time and memory for one and several runs of a usual size.

    python cost.py FOLDER

Writes the data, noise within a brain-like mask, into FOLDER, and cost.md. Each import is a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

HERE = Path(__file__).parent
SHAPE, N_VOLUMES, N_TRIALS, N_CONFOUNDS, N_RUNS = (73, 86, 73), 200, 50, 24, 3
CONFOUNDS = {"confounds": ["c*"]}
IMPORTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("bids.bold", "1", {}),
    ("bids.bold", "1-3", {}),
    ("bids.bold", "1-3", {**CONFOUNDS, "use_confounds": "remove"}),
    ("bids.betas", "1", CONFOUNDS),
    ("bids.betas", "1-3", CONFOUNDS),
    ("bids.betas", "1-3", {**CONFOUNDS, "method": "lss"}),
    ("bids.betas", "1", {**CONFOUNDS, "noise_model": "ar1"}),
    ("bids.betas", "1", {**CONFOUNDS, "noise_model": "ar1", "method": "lss"}),
)
IMPORT = """
import json, resource, sys, time
import brainlens
component, name, given = sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
registry = brainlens.open(sys.argv[1], quiet=True)
started = time.monotonic()
registry.ingest(component, name, **given)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([time.monotonic() - started, time.process_time(), peak]))
"""


def write(root: Path) -> int:
    """Write raw dataset and derivatives; return the number of voxels in the mask."""
    derivatives, raw = root / "fmriprep" / "sub-01" / "func", root / "raw" / "sub-01" / "func"
    for folder in (derivatives, raw):
        folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    centre, axes = (np.array(numbers)[:, None, None, None] for numbers in ((36, 43, 36), (30, 37, 31)))
    mask = (((np.indices(SHAPE) - centre) / axes) ** 2).sum(axis=0) < 1
    for run in range(1, N_RUNS + 1):
        start = f"sub-01_task-x_run-{run}"
        volumes = np.empty((*SHAPE, N_VOLUMES), np.int16, order="F")
        baseline = rng.integers(4000, 9000, SHAPE)
        for volume in range(N_VOLUMES):
            volumes[..., volume] = mask * (baseline + rng.normal(0, 60, SHAPE))
        image = nib.Nifti1Image(volumes, np.diag([-2.5, 2.5, 2.5, 1]))
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_zooms((2.5, 2.5, 2.5, 2.0))
        nib.save(image, derivatives / f"{start}_space-T1w_desc-preproc_bold.nii.gz")
        brain = nib.Nifti1Image(mask.astype(np.uint8), image.affine)
        nib.save(brain, derivatives / f"{start}_space-T1w_desc-brain_mask.nii.gz")
        names = "\t".join(f"c{number}" for number in range(N_CONFOUNDS))
        values = rng.normal(size=(N_VOLUMES, N_CONFOUNDS))
        table = derivatives / f"{start}_desc-confounds_timeseries.tsv"
        np.savetxt(table, values, "%.6f", "\t", header=names, comments="")
        onset = 5 + np.arange(N_TRIALS) * 7.5 + rng.uniform(0, 2, N_TRIALS)
        rows = [f"{at:.3f}\t2\t{'ab'[trial % 2]}" for trial, at in enumerate(onset)]
        (raw / f"{start}_events.tsv").write_text("\n".join(["onset\tduration\ttrial_type", *rows]))
    return int(mask.sum())


def measure(root: Path, number: int) -> str:
    """Return one line of the table."""
    component, runs, choice = IMPORTS[number]
    files = {"raw": str(root / "raw"), "derivatives": str(root / "fmriprep"), "space": "T1w"}
    given = json.dumps({**files, "subject": "01", "task": "x", "runs": runs, **choice})
    command = [sys.executable, "-c", IMPORT, str(root / "study.zarr"), component, f"n{number}", given]
    wall, processor, peak = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    told = ", ".join(f"{key}={value}" for key, value in choice.items() if key != "confounds")
    return f"| `{component}` {told} | {runs} | {wall:.0f} s | {processor:.0f} s | {peak:.0f} MiB |"


def main() -> None:
    """Write the data, import them in all ways, and write the table."""
    root = Path(sys.argv[1])
    n_voxels = write(root)
    lines = [measure(root, number) for number in range(len(IMPORTS))]
    text = [
        "# What importing a subject costs",
        "",
        f"Written by `cost.py`: {N_VOLUMES} volumes of {' x '.join(map(str, SHAPE))} in .nii.gz, {n_voxels} voxels in "
        f"the mask, {N_TRIALS} trials and {N_CONFOUNDS} confounds in each run; digests and storing included.",
        "",
        "| import | runs | time | of the processor | memory, at most |",
        "| --- | --- | --- | --- | --- |",
        *lines,
        "",
    ]
    (HERE / "cost.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()

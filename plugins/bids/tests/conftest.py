"""A subject in raw BIDS and after fMRIPrep, small but whole, with planted betas and confounds; and the real tables."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from brainlens_bids import BetasParams, BoldParams, GlmsingleParams, ImagesParams
from nilearn.glm.first_level import compute_regressor

import brainlens

SHARED = Path(__file__).parents[3] / "../shared/data"
SUBJECT, TASK, SPACE = "01", "objects", "MNI152NLin2009cAsym"
SESSIONS, RUNS = ("pre", "post"), ("1", "2")
N_VOLUMES, T_R, N_TRIALS = 90, 2.0, 10
START_TIME = 0.8
SHAPE = (6, 5, 4)
# Rotated about two axes and mirrored, with unequal voxels: nothing about it is round.
AFFINE = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, -0.2, 0.1) @ np.diag([-3.1, 2.5, 3.75]), [60.45, -35.6, -12.3]
).astype(np.float32)
MOTION = [f"{kind}_{axis}" for kind in ("trans", "rot") for axis in "xyz"]


@dataclass
class Planted:
    """What was written into one run: values (time, site of the whole volume), and what they are made of."""

    values: np.ndarray
    betas: np.ndarray
    events: pd.DataFrame
    confounds: pd.DataFrame
    mask: np.ndarray


@dataclass
class World:
    """A raw dataset and its derivatives on disk, and the truth of each run by its name."""

    root: Path
    runs: dict[str, Planted] = field(default_factory=dict)

    @property
    def raw(self) -> Path:
        return self.root / "raw"

    @property
    def derivatives(self) -> Path:
        return self.root / "fmriprep"

    @property
    def mask(self) -> np.ndarray:
        """Voxels that are in the brain mask of every run."""
        return np.logical_and.reduce([run.mask for run in self.runs.values()])

    def values(self, names: Iterable[str] = ()) -> np.ndarray:
        """Everything that is inside the masks of some runs: (time, voxel)."""
        chosen = [self.runs[name] for name in names or self.runs]
        mask = np.logical_and.reduce([run.mask for run in chosen])
        return np.concatenate([run.values for run in chosen])[:, mask.ravel()]

    def file(self, kind: str, session: str = "pre", run: str = "1") -> Path:
        start = f"sub-{SUBJECT}_ses-{session}_task-{TASK}_run-{run}"
        name = {
            "bold": f"{start}_space-{SPACE}_desc-preproc_bold.nii.gz",
            "bold.json": f"{start}_space-{SPACE}_desc-preproc_bold.json",
            "mask": f"{start}_space-{SPACE}_desc-brain_mask.nii.gz",
            "confounds": f"{start}_desc-confounds_timeseries.tsv",
            "events": f"{start}_events.tsv",
        }[kind]
        root = self.raw if kind == "events" else self.derivatives
        return root / f"sub-{SUBJECT}" / f"ses-{session}" / "func" / name

    def params(self, **changes: Any) -> dict[str, Any]:
        given = {
            "raw": self.raw,
            "derivatives": self.derivatives,
            "subject": SUBJECT,
            "task": TASK,
            "sessions": SESSIONS,
            "runs": "1-2",
            "space": SPACE,
        }
        return {**given, **changes}

    def read(self, context: brainlens.Context | None = None, **changes: Any) -> xr.Dataset:
        from brainlens_bids.bold import read

        made = read(params=BoldParams(**self.params(**changes)), context=context or brainlens.Context())[""]
        brainlens.validate(made, "bold")
        return made

    def betas(self, context: brainlens.Context | None = None, **changes: Any) -> xr.Dataset:
        from brainlens_bids.betas import read

        made = read(params=BetasParams(**self.params(**changes)), context=context or brainlens.Context())[""]
        brainlens.validate(made, "response")
        return made

    def images(self, **given: Any) -> xr.Dataset:
        from brainlens_bids.trial_images import read

        made = read(params=ImagesParams(**given), context=brainlens.Context())[""]
        brainlens.validate(made, "response")
        return made

    def glmsingle(self, **given: Any) -> xr.Dataset:
        from brainlens_bids.glmsingle import read

        made = read(params=GlmsingleParams(**given), context=brainlens.Context())[""]
        brainlens.validate(made, "response")
        return made

    def error(self, what: str = "read", **changes: Any) -> str:
        with pytest.raises(brainlens.BrainlensError) as caught:
            getattr(self, what)(**changes)
        return str(caught.value)


def name_of(session: str, run: str) -> str:
    return f"ses-{session}_run-{run}"


def save_image(
    path: Path, values: np.ndarray, *, affine: np.ndarray = AFFINE, t_r: float = T_R, unit: str = "sec"
) -> Path:
    image = nib.Nifti1Image(values, affine, dtype=values.dtype)
    image.header.set_xyzt_units("mm", unit)
    if values.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], t_r))
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def save_table(path: Path, table: pd.DataFrame) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    return path


def draw_events(rng: np.random.Generator) -> pd.DataFrame:
    onset = np.round(6 + np.arange(N_TRIALS) * 15 + rng.uniform(0, 5, N_TRIALS), 3)
    kinds = np.array(["face", "house"])[rng.permutation(N_TRIALS) % 2]
    names = [f"{kind}_{number:02d}.png" for kind, number in zip(kinds, rng.integers(0, 4, N_TRIALS), strict=True)]
    return pd.DataFrame(
        {
            "onset": onset,
            "duration": np.full(N_TRIALS, 3.0),
            "trial_type": kinds,
            "stim_file": names,
            "response_time": np.where(rng.random(N_TRIALS) < 0.3, np.nan, np.round(rng.random(N_TRIALS), 3)),
            "block": np.arange(N_TRIALS) // 5,
        }
    )


def draw_confounds(rng: np.random.Generator) -> pd.DataFrame:
    table = pd.DataFrame({"csf": 9000 + rng.normal(0, 30, N_VOLUMES), "white_matter": rng.normal(8000, 9, N_VOLUMES)})
    for name in MOTION:
        table[name] = np.cumsum(rng.normal(0, 0.02, N_VOLUMES))
    for name in [*MOTION, "csf", "white_matter"]:
        table[f"{name}_derivative1"] = table[name].diff()
        table[f"{name}_power2"] = table[name] ** 2
        table[f"{name}_derivative1_power2"] = table[f"{name}_derivative1"] ** 2
    for order in range(3):
        table[f"cosine{order:02d}"] = np.cos(np.pi * (order + 1) * (np.arange(N_VOLUMES) + 0.5) / N_VOLUMES)
    for order in range(4):
        table[f"a_comp_cor_{order:02d}"] = rng.normal(size=N_VOLUMES)
    table["framewise_displacement"] = [np.nan, *rng.uniform(0, 0.3, N_VOLUMES - 1)]
    table["std_dvars"] = [np.nan, *rng.uniform(0.8, 1.2, N_VOLUMES - 1)]
    return table


def plant_run(rng: np.random.Generator, mask: np.ndarray) -> Planted:
    """Draw one run: baseline, responses in %, what head motion and cerebrospinal fluid add, and noise."""
    events, confounds = draw_events(rng), draw_confounds(rng)
    betas = rng.normal(1, 1, (N_TRIALS, mask.size))
    times = np.arange(N_VOLUMES) * T_R + START_TIME
    columns = [
        compute_regressor(np.array([[row.onset], [row.duration], [1.0]]), "glover", times)[0][:, 0]
        for row in events.itertuples()
    ]
    added = confounds[["trans_x", "csf"]].to_numpy()
    added = (added - added.mean(axis=0)) / added.std(axis=0) @ rng.normal(0, 2, (2, mask.size))
    noise = rng.normal(0, 0.3, (N_VOLUMES, mask.size))
    baseline = rng.uniform(5000, 9000, mask.size)
    values = (baseline * (1 + (np.stack(columns, axis=1) @ betas + added + noise) / 100)).astype(np.float32)
    return Planted(values, betas, events, confounds, mask)


def write_run(world: World, session: str, run: str) -> None:
    planted = world.runs[name_of(session, run)]
    volumes = planted.values.T.reshape(*SHAPE, N_VOLUMES)
    save_image(world.file("bold", session, run), volumes)
    save_image(world.file("mask", session, run), planted.mask.astype(np.uint8))
    fields = {"RepetitionTime": T_R, "StartTime": START_TIME, "SliceTimingCorrected": True, "TaskName": TASK}
    source = f"bids:raw:sub-{SUBJECT}/ses-{session}/func/sub-{SUBJECT}_ses-{session}_task-{TASK}_run-{run}_bold.nii.gz"
    world.file("bold.json", session, run).write_text(json.dumps({**fields, "Sources": [source]}))
    save_table(world.file("confounds", session, run), planted.confounds)
    names = [name for name in planted.confounds if "comp_cor" in name]
    components = {name: {"Method": "aCompCor", "Mask": "combined", "Retained": True} for name in names}
    world.file("confounds", session, run).with_suffix(".json").write_text(json.dumps(components))
    save_table(world.file("events", session, run), planted.events)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Write the datasets once; tests must not change them."""
    world = World(tmp_path_factory.mktemp("bids"))
    rng = np.random.default_rng(5)
    for session in SESSIONS:
        for run in RUNS:
            mask = np.ones(SHAPE, bool)
            mask[0, 0] = False
            mask[tuple(rng.integers(1, size) for size in SHAPE)] = False
            world.runs[name_of(session, run)] = plant_run(rng, mask)
            write_run(world, session, run)
    for root in (world.raw, world.derivatives):
        (root / "dataset_description.json").write_text(json.dumps({"Name": "simulated", "BIDSVersion": "1.10.0"}))
    (world.raw / f"task-{TASK}_bold.json").write_text(json.dumps({"RepetitionTime": T_R, "TaskName": TASK}))
    return world


# One process, forked, since what the plugin imports takes seconds.
KILLED = """
import os, signal, sys
import brainlens
from brainlens_bids import betas, bold, series

read_sites = series.read_sites

def stop_in_the_third(image, *more, **named):
    found = read_sites(image, *more, **named)
    if "ses-post_task-objects_run-1" in image.path.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return found

series.read_sites = stop_in_the_third
for name in ("bids.bold", "bids.betas"):
    child = os.fork()
    if not child:
        registry = brainlens.open(os.path.join(sys.argv[1], name + ".zarr"), quiet=True)
        registry.ingest(name, "made", raw=sys.argv[2], derivatives=sys.argv[3], subject="01", task="objects",
                        sessions="pre,post", runs="1-2", space="MNI152NLin2009cAsym")
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
"""


@pytest.fixture(scope="session")
def killed(published: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the registries of two imports that were killed when the third of four runs had been read."""
    place = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-c", KILLED, place, published.raw, published.derivatives], check=True)
    return {name: place / f"{name}.zarr" for name in ("bids.bold", "bids.betas")}


@pytest.fixture
def world(published: World, tmp_path: Path) -> World:
    """A copy that a test may spoil."""
    shutil.copytree(published.root, tmp_path / "bids")
    return replace(published, root=tmp_path / "bids")


@pytest.fixture
def context(tmp_path: Path) -> brainlens.Context:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return brainlens.Context(scratch=scratch)


@pytest.fixture(scope="session")
def save() -> Callable[..., Path]:
    return save_image


@pytest.fixture(scope="session")
def save_tsv() -> Callable[..., Path]:
    return save_table


@pytest.fixture(scope="session")
def shared() -> Callable[[str], Path]:
    def find(name: str) -> Path:
        if not (SHARED / name).exists():
            pytest.skip(f"real data {name!r} not found in ../shared/data")
        return SHARED / name

    return find


@pytest.fixture(scope="session")
def cut() -> Callable[..., None]:
    """Return what ends a file early, or its uncompressed content."""

    def shorten(path: Path, *, share: float = 0.6, inside: bool = False) -> None:
        content = gzip.decompress(path.read_bytes()) if inside else path.read_bytes()
        content = content[: int(len(content) * share)]
        path.write_bytes(gzip.compress(content) if inside else content)

    return shorten

"""A small copy of the dataset in its published layout, with the responses of a simulated subject, and its truth."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import scipy.io
import xarray as xr
from brainlens_nsd import BetasParams, CaptionsParams, StimuliParams

import brainlens
from brainlens.testing import synthetic_study

SUBJECT, N_SESSIONS, N_TRIALS = "subj04", 3, 750
SHAPE = (6, 5, 4)
AFFINE = np.array([[-1.8, 0, 0, 70.2], [0, 1.8, 0, -93.6], [0, 0, 1.8, -54], [0, 0, 0, 1]])
N_SIDES = (17, 15)
N_PAINTED = 20
CAPTION_COUNTS = (5, 6, 7)


@dataclass
class Truth:
    """A copy of the dataset on disk, and what was written into it.

    `psc` (trial, site): % signal change as the files can hold it. `labels`: of each ROI file, (site,). `stimulus_id`
    (trial,): 73k numbers from 1. `order` (30000,), `subjectim` (8, 10000): as in the design.
    """

    root: Path
    psc: np.ndarray
    order: np.ndarray
    subjectim: np.ndarray
    run: np.ndarray
    ncsnr: np.ndarray
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    affine: np.ndarray = field(default_factory=AFFINE.copy)

    @property
    def stimulus_id(self) -> np.ndarray:
        return self.subjectim[3, self.order[: N_SESSIONS * N_TRIALS] - 1]

    @property
    def is_shared(self) -> np.ndarray:
        return self.order[: N_SESSIONS * N_TRIALS] <= 1000

    def betas(self, name: str = "", *, space: str = "func1pt8mm") -> Path:
        return self.root / "nsddata_betas" / "ppdata" / SUBJECT / space / "betas_fithrf_GLMdenoise_RR" / name

    def rois(self, name: str = "") -> Path:
        return self.root / "nsddata" / "ppdata" / SUBJECT / "func1pt8mm" / "roi" / name

    def freesurfer(self, who: str, name: str = "") -> Path:
        return self.root / "nsddata" / "freesurfer" / who / "label" / name

    def experiment(self, name: str) -> Path:
        return self.root / "nsddata" / "experiments" / "nsd" / name

    def params(self, **changes: Any) -> dict[str, Any]:
        return {"root": self.root, "subject": SUBJECT, "sessions": "1-3", **changes}

    def read(self, context: brainlens.Context | None = None, **changes: Any) -> xr.Dataset:
        from brainlens_nsd.betas import read

        params = BetasParams(**self.params(**changes))
        dataset = read(params=params, context=context or brainlens.Context())[""]
        brainlens.validate(dataset, "response")
        return dataset

    def stimuli(self, **changes: Any) -> xr.Dataset:
        from brainlens_nsd.stimuli import read

        params = StimuliParams(**self.params(**changes))
        dataset = read(params=params, context=brainlens.Context())[""]
        brainlens.validate(dataset, "stimulus_image")
        return dataset

    def captions(self, **changes: Any) -> Mapping[str, xr.Dataset]:
        from brainlens_nsd.captions import read

        files = [self.root / "coco" / f"captions_{split}2017.json" for split in ("train", "val")]
        params = CaptionsParams(**self.params(captions=list(map(str, files)), **changes))
        made = read(params=params, context=brainlens.Context())
        for dataset in made.values():
            brainlens.validate(dataset, dataset.attrs["schema"])
        return made

    def error(self, what: str = "read", **changes: Any) -> str:
        with pytest.raises(brainlens.BrainlensError) as caught:
            getattr(self, what)(**changes)
        return str(caught.value)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """Write the copy once; tests must not change it."""
    root = tmp_path_factory.mktemp("nsd")
    rng = np.random.default_rng(4)
    subject = synthetic_study(seed=4, n_stimuli=N_TRIALS, n_voxels=int(np.prod(SHAPE)))["response"]
    psc = np.round(subject["response"].values * 300).astype(np.int16)
    order, subjectim = draw_order(rng, subject["stimulus_id"].values, subject["split"].values)
    truth = Truth(root, psc / 300, order, subjectim, run=np.empty(0), ncsnr=np.empty(0))
    truth.run = write_design(truth)
    truth.ncsnr = rng.uniform(0, 1, np.prod(SHAPE)).astype(np.float32)
    write_rois(truth, rng)
    write_volumes(truth, psc)
    write_surfaces(truth, psc, rng)
    write_stimuli(truth, rng)
    return truth


@pytest.fixture
def copy(published: Truth, tmp_path: Path) -> Truth:
    """A copy that a test may spoil."""
    shutil.copytree(published.root, tmp_path / "nsd")
    return replace(published, root=tmp_path / "nsd")


@pytest.fixture
def context(tmp_path: Path) -> brainlens.Context:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return brainlens.Context(scratch=scratch)


@pytest.fixture(scope="session")
def save_image() -> Callable[..., None]:
    return write_image


@pytest.fixture(scope="session")
def save_hdf5() -> Callable[..., None]:
    return write_hdf5


@pytest.fixture(scope="session")
def picture() -> Callable[[int], np.ndarray]:
    return picture_of


@pytest.fixture(scope="session")
def caption() -> Callable[[int, int], str]:
    return caption_of


def draw_order(rng: np.random.Generator, shown: np.ndarray, split: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the simulated stimuli numbers: of shared images up to 1000, of others above."""
    order = rng.integers(1, 10_001, 30_000)
    for name, low in (("test", 1), ("train", 1001)):
        stimuli, index = np.unique(shown[split == name], return_inverse=True)
        numbers = rng.choice(np.arange(low, low + 999), len(stimuli), replace=False)
        order[: len(shown)][split == name] = numbers[index]
    images = rng.permutation(73_000)[:73_000] + 1
    shared = np.sort(images[:1000])
    own = images[1000:].reshape(8, 9000)
    return order, np.concatenate([np.tile(shared, (8, 1)), own], axis=1)


def write_design(truth: Truth) -> np.ndarray:
    """Write the design and the table of answers; return the run of each trial."""
    counts = np.tile([63, 62], 6)
    pattern = np.zeros((40, 12, 75), np.uint8)
    for run, count in enumerate(counts):
        pattern[:, run, 1 : 1 + count] = 1
    folder = truth.experiment("nsd_expdesign.mat")
    folder.parent.mkdir(parents=True)
    scipy.io.savemat(
        folder,
        {
            "masterordering": truth.order[None].astype(np.float64),
            "subjectim": truth.subjectim.astype(np.float64),
            "sharedix": np.sort(truth.subjectim[0, :1000])[None].astype(np.float64),
            "stimpattern": pattern,
        },
    )
    in_session = np.repeat(np.arange(1, 13), counts)
    run = np.concatenate([12 * session + in_session for session in range(N_SESSIONS)])
    path = truth.root / "nsddata" / "ppdata" / SUBJECT / "behav" / "responses.tsv"
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID", "RT"])
        for trial, image in enumerate(truth.stimulus_id):
            where = trial // N_TRIALS + 1, (run[trial] - 1) % 12 + 1
            writer.writerow([4, *where, trial % 63 + 1, image, truth.order[trial], "NaN" if trial % 9 else 812.5])
    return run


def write_image(path: Path, values: np.ndarray, *, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    is_surface = path.suffix in (".mgh", ".mgz")
    image = nib.MGHImage(values, np.eye(4)) if is_surface else nib.Nifti1Image(values, affine, dtype=values.dtype)
    nib.save(image, path)


def write_rois(truth: Truth, rng: np.random.Generator) -> None:
    """Draw label images in which 1 in 5 sites is no cortex (-1), and write them with their tables."""
    tops = {"nsdgeneral": 1, "prf-visualrois": 7, "floc-bodies": 4, "floc-faces": 5, "floc-places": 3}
    tops |= {"floc-words": 5, "streams": 7, "HCP_MMP1": 180, "Kastner2015": 25}
    for name, top in tops.items():
        labels = rng.integers(-1, top + 1, SHAPE)
        if name == "nsdgeneral":
            labels = rng.choice([-1, 0, 1], SHAPE, p=[0.2, 0.2, 0.6])
        truth.labels[name] = labels.ravel()
        write_image(truth.rois(f"{name}.nii.gz"), labels.astype(np.int16))
    for half, side in (("lh", slice(0, 4)), ("rh", slice(3, None))):
        labels = np.full(SHAPE, -1)
        labels[side] = truth.labels["nsdgeneral"].reshape(SHAPE)[side]
        truth.labels[f"{half}.nsdgeneral"] = labels.ravel()
        write_image(truth.rois(f"{half}.nsdgeneral.nii.gz"), labels.astype(np.int16))
    mask = np.ones(SHAPE, np.uint8)
    mask[0] = 0
    truth.labels["brainmask"] = mask.ravel()
    write_image(truth.rois().parent / "brainmask.nii.gz", mask)
    tables = {
        SUBJECT: {"floc-words": ["OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"]},
        "fsaverage": {
            "HCP_MMP1": ["V1", "MST", *(f"area{number}" for number in range(3, 181))],
            "Kastner2015": ["V1v", "V1d", *(f"part{number}" for number in range(3, 26))],
        },
    }
    for who, named in tables.items():
        truth.freesurfer(who).mkdir(parents=True)
        for name, names in named.items():
            lines = ["0 Unknown", *(f"{label} {text}" for label, text in enumerate(names, start=1))]
            truth.freesurfer(who, f"{name}.mgz.ctab").write_text("".join(f"{line} \n" for line in lines))


def write_volumes(truth: Truth, psc: np.ndarray) -> None:
    truth.betas().mkdir(parents=True)
    for session in range(N_SESSIONS):
        volumes = psc[session * N_TRIALS : (session + 1) * N_TRIALS].reshape(N_TRIALS, *SHAPE)
        write_hdf5(truth.betas(f"betas_session{session + 1:02d}.hdf5"), volumes.transpose(0, 3, 2, 1))
        write_image(truth.betas(f"betas_session{session + 1:02d}.nii.gz"), np.moveaxis(volumes, 0, -1))
    write_image(truth.betas("ncsnr.nii.gz"), truth.ncsnr.reshape(SHAPE))


def write_hdf5(path: Path, values: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("betas", data=values, chunks=(N_TRIALS, *(1,) * (values.ndim - 1)))


def write_surfaces(truth: Truth, psc: np.ndarray, rng: np.random.Generator) -> None:
    """Take the first voxels for vertices of the left, the next for those of the right hemisphere."""
    places = {"lh": slice(0, N_SIDES[0]), "rh": slice(N_SIDES[0], sum(N_SIDES))}
    for space in ("fsaverage", "nativesurface"):
        truth.betas(space=space).mkdir(parents=True)
        who = "fsaverage" if space == "fsaverage" else SUBJECT
        for side, here in places.items():
            for session in range(N_SESSIONS):
                values = psc[session * N_TRIALS : (session + 1) * N_TRIALS, here]
                name = f"{side}.betas_session{session + 1:02d}"
                if space == "fsaverage":
                    write_image(
                        truth.betas(f"{name}.mgh", space=space), (values.T / 300).astype(np.float32)[:, None, None]
                    )
                else:
                    write_hdf5(truth.betas(f"{name}.hdf5", space=space), values)
            write_image(truth.betas(f"{side}.ncsnr.mgh", space=space), truth.ncsnr[here, None, None])
            for file in ("nsdgeneral", "streams", "prf-visualrois"):
                labels = truth.labels[file][here, None, None].astype(np.int32)
                if space == "nativesurface" or file != "prf-visualrois":
                    write_image(truth.freesurfer(who, f"{side}.{file}.mgz"), labels)


def write_stimuli(truth: Truth, rng: np.random.Generator) -> None:
    """Write images of one colour that says their number, the first ones only; descriptions, captions and objects."""
    path = truth.root / "nsddata_stimuli" / "stimuli" / "nsd" / "nsd_stimuli.hdf5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        # Chunks that are never written take no room.
        brick = file.create_dataset("imgBrick", (73_000, 425, 425, 3), "u1", chunks=(1, 425, 425, 3), compression=1)
        for image in np.unique(truth.stimulus_id)[:N_PAINTED]:
            brick[image - 1] = picture_of(image)
    with truth.experiment("nsd_stim_info_merged.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "cocoId", "cocoSplit", "cropBox", "loss", "nsdId", "shared1000"])
        shared = set(truth.subjectim[0, :1000].tolist())
        for row in range(73_000):
            split = "val2017" if row % 5 == 0 else "train2017"
            writer.writerow([row, coco_of(row + 1), split, "(0.0, 0.0, 0.1, 0.1)", 0.0, row, row + 1 in shared])
    write_coco(truth, np.unique(truth.stimulus_id))


def picture_of(image: int) -> np.ndarray:
    """Return pixels (y, x, rgb) of a colour that says the number, with one white pixel at the left of the top."""
    picture = np.empty((425, 425, 3), np.uint8)
    picture[:] = image % 251, image // 251 % 251, 7
    picture[0, 0] = 255
    return picture


def coco_of(image: int) -> int:
    return 3 * image + 9


def caption_of(image: int, number: int) -> str:
    return f'A "thing" \\ number {image}, said for the {number}. time – é.'


def write_coco(truth: Truth, images: np.ndarray) -> None:
    folder = truth.root / "coco"
    folder.mkdir()
    categories = [{"id": number, "name": name} for number, name in ((1, "person"), (18, "dog"), (90, "toothbrush"))]
    everything = images.tolist()
    sides = {
        "train": [image for image in everything if (image - 1) % 5],
        "val": [image for image in everything if (image - 1) % 5 == 0],
    }
    for split, chosen in sides.items():
        ids = [coco_of(image) for image in chosen]
        captions = [
            {"image_id": coco_of(image), "id": number, "caption": caption_of(image, number)}
            for number in range(7)
            for image in chosen
            if number < CAPTION_COUNTS[image % 3]
        ]
        objects = [
            {"image_id": coco_of(image), "category_id": category["id"], "segmentation": [[1.5, 2, 3, 4]], "id": 1}
            for place, category in enumerate(categories)
            for image in chosen
            if image >> place & 1
        ]
        described = {"info": {"year": 2017}, "images": [{"id": number} for number in ids]}
        text = json.dumps(described | {"annotations": captions}, ensure_ascii=False)
        (folder / f"captions_{split}2017.json").write_text(text, "utf-8")
        text = json.dumps(described | {"annotations": objects, "categories": categories}, indent=1)
        (folder / f"instances_{split}2017.json").write_text(text, "utf-8")

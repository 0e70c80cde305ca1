"""The importer `public.bold5000`: single-trial betas of release 2.0, one image file for each session.

Each session is cut to the wanted voxels once and kept; rows are read from there when they are stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import brainlens
from brainlens_public import Bold5000Params, terms
from brainlens_public.folders import check_files, choose_one, open_folder
from brainlens_public.kept import Piece, Shelf, Target, find_bad_sites, keep, refuse_copies
from brainlens_public.rois import add_rois, drop_bad_sites, number_sites
from brainlens_public.series import Run, count_repetitions, time_rows
from brainlens_public.sessions import parse_sessions
from brainlens_public.volumes import Volumes, check_grid, fill_rows, open_volumes, place_sites, read_mask, reading

FETCH = "Get them from the page of BOLD5000 release 2.0 at kilthub.cmu.edu."
FETCH_ROIS = "Get them from OpenNeuro ds001499, derivatives/spm, and name their folder with masks=."
N_SESSIONS = MappingProxyType({"CSI1": 15, "CSI2": 15, "CSI3": 15, "CSI4": 9})
PER_RUN = 37
# How the page of the release spells one version in the names of its files.
SPELLINGS = MappingProxyType({"TYPEB-FITHRF": ("TYBEB-FITHRF",)})
# Some masks of two subjects are called otherwise than those of the rest.
ROI_SPELLINGS = MappingProxyType({"LO": "LOC", "RRSC": "RSC"})
SIDES = MappingProxyType({"LH": "left", "RH": "right"})
_MASK = re.compile(r"sub-CSI\d_mask-(LH|RH)(\w+)\.nii(\.gz)?\Z")
ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".gif")
REPEATED = "rep_"


def read(*, params: Bold5000Params, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read the betas of one subject.

    Parameters
    ----------
    params
        Which copy, subject, sessions and voxels; see `Bold5000Params`.
    context
        Notes the files. Sessions are kept in its scratch folder, where the next call finds them.

    Returns
    -------
    Mapping
        Under "" one dataset response.v1: `response`, (trial, voxel), float32, % signal change, in order of acquisition.
        `trial`, position in all trials of the subject from 0; `stimulus_id`, the image's name without ending, as
        `arrays.images` names it; `image_source`; `session` from 1; `run` from 1 over all sessions; `repetition` from 0,
        counted over all sessions; `is_repeated`. Places by the brain mask; ROIs of both hemispheres, and of each.

    Raises
    ------
    RegistryError
        If files are missing.
    ParameterError
        If a file is damaged, sessions are the same, or voxels carry no signal.
    DimensionError
        If images lie on different grids, or there are not as many names as trials.

    References
    ----------
    Chang et al. (2019), doi:10.1038/s41597-019-0052-3; Prince et al. (2022), doi:10.7554/eLife.77599.
    """
    root = open_folder(params.root, what=terms.BOLD5000.title, fetch=FETCH)
    terms.announce(terms.BOLD5000, context)
    chosen, files = _session_files(root, params)
    names_file = context.source(root / f"{params.subject}_imgnames.txt")
    names = read_names(names_file)
    brain = open_volumes(context.source(root / f"{params.subject}_brainmask.nii.gz"), what="brain mask", n_dims=3)
    images = {number: _open_session(path, brain, context) for number, path in files.items()}
    trials = _list_trials(params, images, names, chosen, names_file)
    dataset = number_sites(_find_sites(root, params, brain, context), site="voxel")
    sites = dataset["voxel"].values
    shelf = Shelf(context.scratch)
    pieces = [
        _cut(number, images[number], sites, shelf) for number in context.progress(chosen, label="reading sessions")
    ]
    refuse_copies(pieces, what="betas")
    bad = find_bad_sites(pieces, within="a session")
    what = f"betas of {params.subject}"
    dataset = drop_bad_sites(dataset, bad, site="voxel", choice=params.bad_sites, what=what, context=context)
    if "roi_mask" in dataset:
        dataset = brainlens.sort_by_roi(dataset)
    return {"": terms.stamp(_assemble(dataset, trials, chosen, pieces, params), terms.BOLD5000)}


def name_image(name: str) -> tuple[str, str]:
    """Return the identifier of an image and the collection that it is from.

    Examples
    --------
    >>> name_image("rep_homeoffice9.jpg")
    ('homeoffice9', 'scene')
    >>> name_image("n01945685_2329.JPEG")
    ('n01945685_2329', 'imagenet')
    """
    # Lists of some releases mark images that are shown again.
    name = name.removeprefix(REPEATED)
    stem, dot, ending = name.rpartition(".")
    stem = stem if f"{dot}{ending}".lower() in ENDINGS else name
    collection = "coco" if stem.startswith("COCO") else "imagenet" if re.match(r"n\d+_", stem) else "scene"
    return stem, collection


def label_trials(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Label all trials of a subject by the names of their images.

    Returns
    -------
    dict
        `trial`, from 0; `stimulus_id`; `image_source`; `repetition`, from 0; `is_repeated`, bool; shape (n_trials,).
    """
    parts = [name_image(name) for name in names]
    stimulus = np.array([stem for stem, _ in parts])
    return {
        "trial": np.arange(len(names)),
        "stimulus_id": stimulus,
        "image_source": np.array([collection for _, collection in parts]),
        "repetition": count_repetitions(stimulus),
        "is_repeated": pd.Series(stimulus).duplicated(keep=False).to_numpy(),
    }


def _session_files(root: Path, params: Bold5000Params) -> tuple[list[int], dict[int, Path]]:
    """Return the chosen sessions, and files of these and of all before them, whose lengths tell where names begin."""
    last = N_SESSIONS[params.subject]
    chosen = parse_sessions(params.sessions, range(1, last + 1), what=params.subject)
    spellings = (params.betas, *SPELLINGS.get(params.betas, ()))
    files = {
        number: choose_one([root / f"{params.subject}_GLMbetas-{betas}_ses-{number:02d}.nii.gz" for betas in spellings])
        for number in range(1, max(chosen) + 1)
    }
    wanted = {f"session {number}": path for number, path in files.items()}
    wanted |= {name: root / f"{params.subject}_{name}" for name in ("imgnames.txt", "brainmask.nii.gz")}
    skipped = [number for number in files if number not in chosen and not files[number].exists()]
    why = f" Sessions before {max(chosen)} are needed too: their lengths tell where names begin." if skipped else ""
    check_files(wanted, what="BOLD5000", fetch=f"{FETCH}{why}")
    return chosen, files


def read_names(path: Path) -> list[str]:
    """Read the names of images, one for each trial of a subject.

    Raises
    ------
    ParameterError
        If a line names no image.
    """
    with reading(path, what="image names"):
        names = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    strange = [name for name in names if not name.lower().endswith(ENDINGS)]
    if strange or not names:
        raise brainlens.ParameterError(
            f"image names {str(path)!r}: expected the name of an image in every line, found "
            f"{brainlens.listed(strange) or 'nothing'}. {FETCH}"
        )
    return names


def _open_session(path: Path, brain: Volumes, context: brainlens.Context) -> Volumes:
    image = open_volumes(context.source(path), what="betas", n_dims=4)
    # The affines of the betas are not those of the masks, so that only shapes tell whether they are of one subject.
    check_grid(image, brain, what="betas", affine=False)
    if image.n_volumes % PER_RUN:
        raise brainlens.DimensionError(
            f"betas {str(path)!r}: expected whole runs of {PER_RUN} trials, found {image.n_volumes} volumes. It is of "
            "another data set, or cut short: get it again."
        )
    return image


def _list_trials(
    params: Bold5000Params, images: Mapping[int, Volumes], names: Sequence[str], chosen: Sequence[int], path: Path
) -> pd.DataFrame:
    """Label the trials of all sessions up to the last that is chosen, and keep those that are."""
    total = sum(image.n_volumes for image in images.values())
    complete = len(images) == N_SESSIONS[params.subject]
    if total > len(names) or (complete and total != len(names)):
        raise brainlens.DimensionError(
            f"image names {str(path)!r}: expected {total} names, one for each volume of {len(images)} sessions, found "
            f"{len(names)}. Names or betas are of another subject, or cut short: get them again."
        )
    table = pd.DataFrame(label_trials(names)).iloc[:total].copy()
    table["session"] = np.repeat(list(images), [image.n_volumes for image in images.values()])
    table["run"] = table["trial"] // PER_RUN + 1
    return table[table["session"].isin(list(chosen))].reset_index(drop=True)


def _find_sites(root: Path, params: Bold5000Params, brain: Volumes, context: brainlens.Context) -> xr.Dataset:
    inside = read_mask(brain.path, None, what="brain mask")
    rois = _read_rois(root, params, brain, context) if params.sites != ("brain",) or params.masks else {}
    if params.sites == ("brain",):
        chosen = inside
    else:
        wanted = tuple(SIDES.values()) if params.sites == ("rois",) else params.sites
        for name in wanted:
            if name not in rois:
                raise brainlens.ParameterError(
                    f"sites: expected 'rois', 'brain' or ROIs of {params.subject}, found {name!r}. "
                    f"{brainlens.closest(name, rois, what='ROIs')}"
                )
        chosen = np.any([rois[name] for name in wanted], axis=0)
    sites = np.flatnonzero(chosen & inside)
    if not len(sites):
        raise brainlens.ParameterError(
            f"sites: expected at least one voxel in the brain mask, found none in {brainlens.listed(params.sites)}. "
            "Choose others."
        )
    return add_rois(place_sites(sites, brain), rois, site="voxel")


def _read_rois(root: Path, params: Bold5000Params, brain: Volumes, context: brainlens.Context) -> dict[str, np.ndarray]:
    name = f"sub-{params.subject}"
    base = Path(params.masks).expanduser() if params.masks else root
    folder = choose_one([base / name, base / "derivatives" / "spm" / name, base])
    found = sorted(folder.glob(f"{name}_mask-*.nii*")) if folder.is_dir() else []
    if not found:
        raise brainlens.RegistryError(
            f"masks {str(folder)!r}: expected files such as '{name}_mask-LHPPA.nii.gz', found none. {FETCH_ROIS} Or "
            "choose sites='brain'."
        )
    rois: dict[str, np.ndarray] = {}
    for path in found:
        match = _MASK.match(path.name)
        if match is None:
            raise brainlens.ParameterError(
                f"masks {str(path)!r}: expected a name such as '{name}_mask-LHPPA.nii.gz'. Take it out. {FETCH_ROIS}"
            )
        area = ROI_SPELLINGS.get(match[2], match[2])
        mask = read_mask(context.source(path), brain, what=f"ROI {match[1] + match[2]!r}")
        for whole in (area, f"{match[1]}{area}", SIDES[match[1]]):
            rois[whole] = rois[whole] | mask if whole in rois else mask
    return dict(sorted(rois.items(), key=lambda item: (item[0] in SIDES.values(), item[0][:2] in SIDES)))


def _cut(number: int, image: Volumes, sites: np.ndarray, shelf: Shelf) -> Piece:
    def fill(out: Target) -> None:
        fill_rows(image, sites, out, what="betas")

    return keep(f"session{number:02d}", image.path, (image.n_volumes, len(sites)), fill, shelf, sites=sites)


def _assemble(
    dataset: xr.Dataset, trials: pd.DataFrame, chosen: Sequence[int], pieces: Sequence[Piece], params: Bold5000Params
) -> xr.Dataset:
    runs = [Run(n, piece, slice(0, len(piece.values()))) for n, piece in zip(chosen, pieces, strict=True)]
    response = time_rows(runs, dataset["source_index"].values, dim="trial")
    coords: dict[str, Any] = {"trial": trials["trial"].to_numpy()}
    for name in trials.columns[1:]:
        column = trials[name]
        text = not (pd.api.types.is_integer_dtype(column) or pd.api.types.is_bool_dtype(column))
        coords[name] = ("trial", column.to_numpy(dtype=str) if text else column.to_numpy())
    if params.repeated != "unsplit":
        coords["split"] = ("trial", np.where(trials["is_repeated"], params.repeated, "train"))
    attrs = {
        "schema": "response.v1",
        "subject": params.subject,
        "space": f"{params.subject}, as published",
        "units": "% signal change",
        "betas": params.betas,
        "sessions": list(chosen),
    }
    return dataset.assign(response=response).assign_coords(coords).assign_attrs(attrs)

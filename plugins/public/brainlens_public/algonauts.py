"""The importer `public.algonauts`: the challenge of 2023, responses of the Natural Scenes Dataset on fsaverage.

Responses are mapped and images decoded when they are stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import xarray as xr

import brainlens
from brainlens_public import AlgonautsParams, terms
from brainlens_public.arrays import Matrix, find_bad_columns, join_rows, map_numbers, open_matrix
from brainlens_public.folders import check_files, open_folder
from brainlens_public.literals import read_names
from brainlens_public.pictures import image_rows
from brainlens_public.rois import add_rois, drop_bad_sites, number_sites

FETCH = "Get them from algonauts.csail.mit.edu, after its form."
SIDES = MappingProxyType({"lh": "left", "rh": "right"})
CLASSES = ("prf-visualrois", "floc-bodies", "floc-faces", "floc-places", "floc-words", "streams")
# Their labels are called after the place alone.
PREFIXED = ("streams",)
MERGED = MappingProxyType({"V1": ("V1v", "V1d"), "V2": ("V2v", "V2d"), "V3": ("V3v", "V3d")})
NUMBERING = "number in NSD's list of 73,000 images from 1, as in plugin nsd; file names have one less"
# As the challenge's data preparation scales them.
UNITS = "z within session by all its trials, mean over showings"
_NAME = re.compile(r"(train|test)-(\d{4,})_nsd-(\d{5})\.png\Z")


@dataclass(frozen=True)
class Responses:
    """Both hemispheres: (image, vertex) each; which vertices of fsaverage they are, and how many there are."""

    halves: tuple[Matrix, Matrix]
    vertices: tuple[np.ndarray, np.ndarray]
    n_surface: tuple[int, int]

    @property
    def n_images(self) -> int:
        """Number of rows."""
        return self.halves[0].shape[0]


def read(*, params: AlgonautsParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read the training part of one subject, and images.

    Parameters
    ----------
    params
        Which copy, subject, vertices and images; see `AlgonautsParams`.
    context
        Notes the files; shows progress.

    Returns
    -------
    Mapping
        "response": response.v1, (trial, vertex), float32, one trial for each image, the mean over its showings; `trial`
        from 1 as in file names, `stimulus_id` in NSD's list from 1, `split` train. `vertex` counts through left, then
        right fsaverage; `hemisphere`, `hemisphere_vertex`; `roi_mask` (roi, vertex), bool. "images":
        stimulus_image.v1, (stimulus, y, x, rgb), with `split`. Without images the response alone, under "".

    Raises
    ------
    RegistryError
        If files are missing.
    ParameterError
        If a file is damaged, or a label has no name.
    DimensionError
        If responses, images, vertices and ROIs do not fit together.

    References
    ----------
    Gifford et al. (2023), arXiv:2301.03198. Names of labels are read from the `mapping_*.npy` without unpickling.
    """
    root = open_folder(params.root, what=terms.ALGONAUTS.title, fetch=FETCH)
    terms.announce(terms.ALGONAUTS, context)
    folder = root / params.subject
    check_files(_files(folder), what="algonauts_2023", fetch=FETCH)
    responses = _open_responses(folder, context)
    images = _list_images(folder / "training_split" / "training_images", "train")
    if len(images) != responses.n_images:
        raise brainlens.DimensionError(
            f"training_images {str(folder / 'training_split' / 'training_images')!r}: expected an image for each of "
            f"{responses.n_images} rows of {str(responses.halves[0].path)!r}, found {len(images)}. The folder is not "
            f"whole, or of another subject. {FETCH}"
        )
    dataset = number_sites(_find_sites(folder, responses, params, context), site="vertex")
    columns = dataset["source_column"].values
    bad = {reason: mask[columns] for reason, mask in find_bad_columns(responses.halves).items() if mask[columns].any()}
    what = f"training_fmri of {params.subject}"
    dataset = drop_bad_sites(dataset, bad, site="vertex", choice=params.bad_sites, what=what, context=context)
    response = _assemble(brainlens.sort_by_roi(dataset), responses, images, params)
    if params.images == "none":
        return {"": terms.stamp(response, terms.ALGONAUTS)}
    pictures = _form_images(folder, images, params, context)
    return {
        "response": terms.stamp(response, terms.ALGONAUTS),
        "images": terms.stamp(pictures, terms.ALGONAUTS),
    }


def _files(folder: Path) -> dict[str, Path]:
    fmri, masks = folder / "training_split" / "training_fmri", folder / "roi_masks"
    files = {f"{side} responses": fmri / f"{side}_training_fmri.npy" for side in SIDES}
    files |= {f"{side} vertices": masks / f"{side}.all-vertices_fsaverage_space.npy" for side in SIDES}
    for name in CLASSES:
        files |= {f"{side} {name}": masks / f"{side}.{name}_challenge_space.npy" for side in SIDES}
        files[f"names of {name}"] = masks / f"mapping_{name}.npy"
    return files


def _open_responses(folder: Path, context: brainlens.Context) -> Responses:
    files = _files(folder)
    halves, vertices, sizes = [], [], []
    for side in SIDES:
        path, place = context.source(files[f"{side} responses"]), context.source(files[f"{side} vertices"])
        half = open_matrix(path, what="training_fmri")
        surface = map_numbers(place, what="all-vertices", n_dims=1, kinds="iufb")
        chosen = np.flatnonzero(surface)
        if len(chosen) != half.shape[1]:
            raise brainlens.DimensionError(
                f"training_fmri {str(path)!r}: expected the {len(chosen)} vertices of {str(place)!r}, found "
                f"{half.shape[1]}. One of them is of another subject: get both again."
            )
        halves.append(half)
        vertices.append(chosen)
        sizes.append(len(surface))
    left, right = halves
    if left.shape[0] != right.shape[0]:
        raise brainlens.DimensionError(
            f"training_fmri {str(right.path)!r}: expected {left.shape[0]} images, as {str(left.path)!r}, found "
            f"{right.shape[0]}. One of them is of another subject: get both again."
        )
    return Responses((left, right), (vertices[0], vertices[1]), (sizes[0], sizes[1]))


def _list_images(folder: Path, part: str) -> list[tuple[int, int, Path]]:
    """Return position from 1, number in NSD's list from 0, and file of every image, in the order of positions."""
    if not folder.is_dir():
        raise brainlens.RegistryError(f"images {str(folder)!r}: expected a folder, found none. {FETCH}")
    found = []
    for path in folder.iterdir():
        match = _NAME.match(path.name)
        if match is None and path.suffix == ".png":
            raise brainlens.ParameterError(
                f"images {str(folder)!r}: expected names such as '{part}-0001_nsd-00013.png', found {path.name!r}. "
                "Take it out, or get the folder again."
            )
        if match is not None and match[1] == part:
            found.append((int(match[2]), int(match[3]), path))
    found.sort()
    positions = [position for position, _, _ in found]
    missing = sorted(set(range(1, (positions or [1])[-1] + 1)) - set(positions))
    twice = len(set(positions)) < len(positions) or len({number for _, number, _ in found}) < len(found)
    if missing or twice or not found:
        state = f"none of {brainlens.listed(missing)}" if missing else "one twice"
        raise brainlens.ParameterError(
            f"images {str(folder)!r}: expected {part}-0001 and so on, each once, found {state}. The folder is not "
            f"whole. {FETCH}"
        )
    return found


def _find_sites(folder: Path, responses: Responses, params: AlgonautsParams, context: brainlens.Context) -> xr.Dataset:
    rois = _read_rois(folder, responses, context)
    n_columns = sum(map(len, responses.vertices))
    chosen = np.ones(n_columns, bool)
    if params.sites != ("all",):
        for name in params.sites:
            if name not in rois:
                raise brainlens.ParameterError(
                    f"sites: expected 'all' or ROIs of {params.subject}, found {name!r}. "
                    f"{brainlens.closest(name, rois, what='ROIs')}"
                )
        chosen = np.any([rois[name] for name in params.sites], axis=0)
    if not chosen.any():
        raise brainlens.ParameterError(
            f"sites: expected at least one vertex in {brainlens.listed(params.sites)}, found none. Choose others."
        )
    columns = np.flatnonzero(chosen)
    side = np.repeat(list(SIDES.values()), [len(part) for part in responses.vertices])[columns]
    place = np.concatenate(responses.vertices)[columns]
    # ROIs are over columns of the files, so that they are added before vertices get their labels.
    dataset = add_rois(xr.Dataset(coords={"vertex": columns}), rois, site="vertex")
    vertex = np.where(side == "left", place, place + responses.n_surface[0])
    return dataset.assign_coords(
        vertex=vertex,
        source_column=("vertex", columns),
        hemisphere=("vertex", side),
        hemisphere_vertex=("vertex", place),
    )


def _read_rois(folder: Path, responses: Responses, context: brainlens.Context) -> dict[str, np.ndarray]:
    files = _files(folder)
    rois: dict[str, np.ndarray] = {}
    for name in CLASSES:
        names = read_names(context.source(files[f"names of {name}"]), what="mapping")
        labels = []
        for side, part in zip(SIDES, responses.vertices, strict=True):
            path = context.source(files[f"{side} {name}"])
            values = map_numbers(path, what=f"ROI {name!r}", n_dims=1, kinds="iuf")
            if len(values) != len(part):
                raise brainlens.DimensionError(
                    f"ROI {name!r} {str(path)!r}: expected the {len(part)} vertices of the responses, found "
                    f"{len(values)}. It is of another space or subject: get {path.name!r} again."
                )
            labels.append(values)
        both = np.concatenate(labels)
        unnamed = sorted(set(np.unique(both[both > 0]).tolist()) - set(names))
        if unnamed:
            raise brainlens.ParameterError(
                f"ROI {name!r}: expected labels that are named in {str(files[f'names of {name}'])!r}, found "
                f"{brainlens.listed(unnamed)}. Files are of different releases: get both again."
            )
        prefix = f"{name}: " if name in PREFIXED else ""
        found = {f"{prefix}{label}": both == number for number, label in names.items() if number > 0}
        if name == "prf-visualrois":
            rois |= {whole: found[a] | found[b] for whole, (a, b) in MERGED.items() if a in found and b in found}
        if name.startswith("floc-"):
            rois[name] = both > 0
        rois |= found
    return rois


def _assemble(
    dataset: xr.Dataset, responses: Responses, images: Sequence[tuple[int, int, Path]], params: AlgonautsParams
) -> xr.Dataset:
    columns = dataset["source_column"].values
    shape = (len(images), len(columns))

    def make(low: int, high: int) -> np.ndarray:
        return join_rows(responses.halves, low, high, columns)

    coords: dict[str, Any] = {
        "trial": np.array([position for position, _, _ in images]),
        "stimulus_id": ("trial", np.array([number + 1 for _, number, _ in images])),
        "split": ("trial", np.full(len(images), "train")),
    }
    labelled = dataset.assign(response=brainlens.made_rows(("trial", "vertex"), shape, np.float32, make))
    labelled = labelled.assign_coords(coords).drop_vars("source_column")
    labelled["stimulus_id"].attrs["numbering"] = NUMBERING
    space = {"space": "fsaverage", "n_vertices": list(responses.n_surface)}
    return labelled.assign_attrs(schema="response.v1", subject=params.subject, units=UNITS, **space)


def _form_images(
    folder: Path, training: Sequence[tuple[int, int, Path]], params: AlgonautsParams, context: brainlens.Context
) -> xr.Dataset:
    listed = [(number, "train", path) for _, number, path in training]
    if params.images == "all":
        listed += [(n, "test", path) for _, n, path in _list_images(folder / "test_split" / "test_images", "test")]
    listed.sort()
    numbers = np.array([number for number, _, _ in listed])
    if len(np.unique(numbers)) < len(numbers):
        twice = numbers[np.flatnonzero(np.diff(numbers) == 0)[0]]
        raise brainlens.ParameterError(
            f"images {str(folder)!r}: expected each image in training or test, found nsd-{twice:05d} in both. {FETCH}"
        )
    for source in dict.fromkeys(path.parent for _, _, path in listed):
        context.source(source)
    paths = [path for _, _, path in listed]
    return xr.Dataset(
        {"image": image_rows(paths, context, size=params.size, resample=params.resample)},
        {"stimulus": numbers + 1, "split": ("stimulus", np.array([split for _, split, _ in listed]))},
        {"schema": "stimulus_image.v1", "subject": params.subject, "numbering": NUMBERING},
    )

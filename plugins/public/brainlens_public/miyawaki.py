"""The importer `public.miyawaki`: responses to contrast images, from the folder that nilearn's fetcher leaves.

The one file of block means of V1 that was published with other code is read as well (`figures`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import xarray as xr

import brainlens
from brainlens_public import MiyawakiParams, terms
from brainlens_public.figures import FILE, read_figures
from brainlens_public.folders import check_files, open_folder
from brainlens_public.kept import Shelf, find_bad_sites, keep, refuse_copies
from brainlens_public.patches import N_PATCHES, form_images, form_target, name_patches
from brainlens_public.rois import add_rois, drop_bad_sites, number_sites
from brainlens_public.series import UNITS, Run, average_trials, check_runs, count_repetitions, number_trials
from brainlens_public.sessions import parse_sessions
from brainlens_public.tables import numbers, read_table
from brainlens_public.volumes import Volumes, check_grid, fill_rows, open_volumes, place_sites, read_mask

FETCH = "Get them with nilearn.datasets.fetch_miyawaki2008()."
N_RUNS = MappingProxyType({"random": 20, "figure": 12})
SPLITS = MappingProxyType({"random": "train", "figure": "test"})
AREAS = ("V1d", "V1v", "V2d", "V2v", "V3", "V3A", "V4v", "VP")
ECCENTRICITIES = tuple(f"lag{n}to{n + 1}" for n in range(11))
MERGED = MappingProxyType({"V1": ("V1d", "V1v"), "V2": ("V2d", "V2v")})
REST = ""


@dataclass(frozen=True)
class Series:
    """One run: its kind and number, its image and its table of labels."""

    kind: str
    number: int
    image: Volumes
    labels: Path

    @property
    def name(self) -> str:
        """Such as 'figure-03'."""
        return f"{self.kind}-{self.number:02d}"


def read(*, params: MiyawakiParams, context: brainlens.Context) -> Mapping[str, xr.Dataset]:
    """Read runs of random images and of figures.

    Parameters
    ----------
    params
        Which copy, runs and trials; see `MiyawakiParams`.
    context
        Notes the files. Each run is cut to the mask and kept in its scratch folder, where the next call finds it.

    Returns
    -------
    Mapping
        "response": response.v1, (trial, voxel), float32; random runs first. `stimulus_id` is what is on the image
        (`patches`), `run` such as 'figure-03', `image_type` random or figure, `split` train or test. ROIs of both
        hemispheres together. "images": stimulus_image.v1, (stimulus, y, x). "patches": embedding.v1, (stimulus,
        channel), 0 and 1.

    Raises
    ------
    RegistryError
        If files are missing.
    ParameterError
        If a file is damaged, a table holds anything but -1, 0 and 1, or voxels carry no signal.
    DimensionError
        If images lie on different grids, or there are not as many labels as volumes.

    References
    ----------
    Miyawaki et al. (2008), doi:10.1016/j.neuron.2008.11.004. The delay of two volumes is that of nilearn's example.
    """
    root = open_folder(params.root, what=terms.MIYAWAKI.title, fetch=FETCH)
    if (root / FILE).exists():
        return read_figures(context.source(root / FILE), params, context)
    terms.announce(terms.MIYAWAKI, context)
    series = _open_series(root, params, context)
    shown = [_read_labels(one, params.delay) for one in series]
    dataset = number_sites(_find_sites(root, params, series[0].image, context), site="voxel")
    sites = dataset["voxel"].values
    shelf = Shelf(context.scratch)
    pieces = [
        keep(
            one.name,
            one.image.path,
            (one.image.n_volumes, len(sites)),
            lambda out, image=one.image: fill_rows(image, sites, out, what="func"),
            shelf,
            sites=sites,
        )
        for one in context.progress(series, label="reading runs")
    ]
    refuse_copies(pieces, what="func")
    bad = find_bad_sites(pieces, within="a run")
    dataset = drop_bad_sites(dataset, bad, site="voxel", choice=params.bad_sites, what="func", context=context)
    if "roi_mask" in dataset:
        dataset = brainlens.sort_by_roi(dataset)
    runs = [Run(one.name, piece, slice(0, one.image.n_volumes)) for one, piece in zip(series, pieces, strict=True)]
    check_runs(runs, params)
    return _assemble(dataset, series, runs, np.concatenate(shown), params)


def _open_series(root: Path, params: MiyawakiParams, context: brainlens.Context) -> list[Series]:
    wanted = [
        (kind, number)
        for kind, text in (("random", params.random), ("figure", params.figure))
        if text != "none"
        for number in parse_sessions(text, range(1, N_RUNS[kind] + 1), what="miyawaki2008", field=f"{kind} runs")
    ]
    if not wanted:
        raise brainlens.ParameterError("random, figure: expected runs of one of them, found 'none' twice. Choose some.")
    images = {(kind, n): root / "func" / f"data_{kind}_run{n:02d}.nii.gz" for kind, n in wanted}
    labels = {(kind, n): root / "label" / f"data_{kind}_run{n:02d}_label.csv" for kind, n in wanted}
    files = {f"func {kind} {n}": path for (kind, n), path in images.items()}
    files |= {f"label {kind} {n}": path for (kind, n), path in labels.items()}
    files |= {"mask": root / "mask" / "mask.nii.gz"}
    check_files(files | _roi_files(root, params), what="miyawaki2008", fetch=FETCH)
    made = []
    for kind, number in wanted:
        image = open_volumes(context.source(images[kind, number]), what="func", n_dims=4)
        made.append(Series(kind, number, image, context.source(labels[kind, number])))
        check_grid(image, made[0].image, what="func")
    return made


def _roi_files(root: Path, params: MiyawakiParams) -> dict[str, Path]:
    if params.rois == "none":
        return {}
    names = [f"{side}{area}" for area in (*AREAS, *ECCENTRICITIES) for side in ("LH", "RH")]
    return {name: root / "mask" / f"{name}.nii.gz" for name in names}


def _read_labels(series: Series, delay: int) -> np.ndarray:
    """Return what each volume shows, delayed: patches, (n_volumes, 100), int8; -1 where nothing was shown."""
    columns = [str(number) for number in range(N_PATCHES)]
    what = "labels"
    table = read_table(series.labels, what=what, names=columns)
    if len(table) != series.image.n_volumes:
        raise brainlens.DimensionError(
            f"labels {str(series.labels)!r}: expected a row for each of {series.image.n_volumes} volumes of "
            f"{str(series.image.path)!r}, found {len(table)}. One is cut short or of another run: get both again."
        )
    patches = np.stack([numbers(table, name, series.labels, what=what) for name in columns], axis=1)
    strange = ~np.isin(patches, (-1, 0, 1)) | ((patches == -1) != (patches == -1).all(axis=1, keepdims=True))
    if strange.any():
        row, column = np.argwhere(strange)[0].tolist()
        raise brainlens.ParameterError(
            f"labels {str(series.labels)!r}: expected 100 cells of 0 and 1, or of -1 for rest, in every row, found "
            f"{table.iloc[row, column]!r} in row {row + 1}, cell {column + 1}. Get the published file again."
        )
    delayed = np.full(patches.shape, -1, np.int8)
    delayed[delay:] = patches[: len(patches) - delay]
    return delayed


def _find_sites(root: Path, params: MiyawakiParams, image: Volumes, context: brainlens.Context) -> xr.Dataset:
    brain = read_mask(context.source(root / "mask" / "mask.nii.gz"), image, what="mask")
    found = {
        name: read_mask(context.source(path), image, what=f"ROI {name!r}")
        for name, path in _roi_files(root, params).items()
    }
    rois = {}
    if found:
        both = {area: found[f"LH{area}"] | found[f"RH{area}"] for area in (*AREAS, *ECCENTRICITIES)}
        rois = {name: np.any([both[part] for part in parts], axis=0) for name, parts in MERGED.items()} | both
        rois |= {
            side: np.any([found[f"{half}{area}"] for area in AREAS], axis=0)
            for half, side in (("LH", "left"), ("RH", "right"))
        }
    return add_rois(place_sites(np.flatnonzero(brain), image), rois, site="voxel")


def _assemble(
    dataset: xr.Dataset, series: Sequence[Series], runs: Sequence[Run], shown: np.ndarray, params: MiyawakiParams
) -> Mapping[str, xr.Dataset]:
    names = np.where((shown == -1).all(axis=1), REST, name_patches(shown == 1))
    owner = np.repeat(np.arange(len(series)), [one.image.n_volumes for one in series])
    trials = number_trials(names, owner, REST, average_over=params.average_over)
    if not (trials >= 0).any():
        raise brainlens.ParameterError(
            f"labels {str(series[0].labels)!r}: expected rows that show an image, found only rest. Get them again, or "
            "choose a shorter delay."
        )
    order = np.argsort(trials, kind="stable")[int((trials < 0).sum()) :]
    first = order[np.flatnonzero(np.diff(trials[order], prepend=-1))]
    kind = np.array([series[position].kind for position in owner[first]])
    response = dataset.assign(
        response=average_trials(runs, trials, dataset["source_index"].values, params)
    ).assign_coords(
        trial=np.arange(len(first)),
        stimulus_id=("trial", names[first]),
        run=("trial", np.array([series[position].name for position in owner[first]])),
        repetition=("trial", count_repetitions(names[first])),
        n_volumes=("trial", np.bincount(trials[trials >= 0])),
        image_type=("trial", kind),
        split=("trial", np.array([SPLITS[one] for one in kind])),
    )
    response.attrs |= {
        "schema": "response.v1",
        "subject": "S1",
        "space": "S1 functional",
        "units": UNITS[params.standardize_runs] or "scanner units",
        "average_over": params.average_over,
        "detrend": params.detrend,
        "delay_volumes": params.delay,
    }
    patches = shown[first] == 1
    made = {
        "response": response,
        "images": form_images(names[first], patches),
        "patches": form_target(names[first], patches),
    }
    return {name: terms.stamp(part, terms.MIYAWAKI) for name, part in made.items()}

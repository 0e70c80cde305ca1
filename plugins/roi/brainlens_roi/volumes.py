"""ROIs of voxels: NIfTI masks and label images, read at the sites of a response."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import xarray as xr
from nibabel.filebasedimages import ImageFileError
from nilearn.image import resample_to_img

import brainlens
from brainlens_roi.attach_params import AttachParams
from brainlens_roi.names import name_of_file, read_names, refuse_repeated

# Headers keep affines as float32, so copies of one grid differ by rounding; a hundredth of a mm is far below any voxel.
GRID_TOLERANCE_MM = 0.01


@dataclass(frozen=True, kw_only=True)
class Region:
    """One ROI as it lies in a response.

    Attributes
    ----------
    name
        Of the ROI.
    members
        Which sites of the response belong to it; shape (n_sites,), bool.
    n_source
        Sites that it had in its file.
    n_grid
        Sites that it has on the grid of the response, inside the response's sites or not.
    """

    name: str
    members: np.ndarray
    n_source: int
    n_grid: int


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where the voxels of a response lie."""

    affine: np.ndarray
    shape: tuple[int, ...]
    index: tuple[np.ndarray, ...]


def read_regions(response: xr.Dataset, params: AttachParams, context: brainlens.Context) -> Iterator[Region]:
    """Read masks and atlas at the voxels of a response.

    Raises
    ------
    DimensionError
        If the response does not say where its voxels lie, or an image has another grid and may not be resampled.
    ParameterError
        If a file is no image, or does not hold what it should.
    """
    grid = _grid_of(response)
    files = _mask_files(params, context)
    refuse_repeated([name for name, _ in files], "masks")
    for name, path in files:
        what = f"mask {str(path)!r}"
        image = _open(path, what)
        source = np.asanyarray(image.dataobj)
        levels = np.unique(source[np.isfinite(source)])
        if not np.isfinite(source).all() or np.count_nonzero(levels) > 1:
            raise brainlens.ParameterError(
                f"{what}: expected 0 and one other value, found {len(levels)} values: "
                f"{brainlens.listed(levels.tolist())}. Threshold it, or name it as 'atlas' if its values are labels."
            )
        placed = _on_grid(image, grid, params, what) != 0
        yield Region(
            name=name, members=placed[grid.index], n_source=int(np.count_nonzero(source)), n_grid=int(placed.sum())
        )
    if params.atlas:
        yield from _read_atlas(grid, params, context)


def _read_atlas(grid: Grid, params: AttachParams, context: brainlens.Context) -> Iterator[Region]:
    path = context.source(params.atlas)
    what = f"atlas {str(path)!r}"
    image = _open(path, what)
    source = np.asanyarray(image.dataobj)
    broken = source[~np.isfinite(source) | (source != np.round(source))]
    if broken.size:
        raise brainlens.ParameterError(
            f"{what}: expected whole-number labels, found {broken.size} voxels with others, such as "
            f"{broken[0].item()!r}. Probabilistic maps and interpolated atlases are no label images."
        )
    names = read_names(params, context)
    placed = np.round(_on_grid(image, grid, params, what)).astype(np.int64)
    at_sites = placed[grid.index]
    named_all = {0, *read_names(params.model_copy(update={"background": ()}), context)}
    unnamed = sorted(set(np.unique(at_sites).tolist()) - named_all)
    if unnamed:
        raise brainlens.ParameterError(
            f"{what}: expected a name for every label, found none for {brainlens.listed(unnamed)}. Check that image "
            "and names are of one version."
        )
    counts = [dict(zip(*np.unique(each, return_counts=True), strict=True)) for each in (source, placed)]
    for label, name in names.items():
        n_source, n_grid = (int(each.get(label, 0)) for each in counts)
        yield Region(name=name, members=at_sites == label, n_source=n_source, n_grid=n_grid)


def _grid_of(response: xr.Dataset) -> Grid:
    missing = [f"coordinate {name!r}" for name in "ijk" if name not in response.coords]
    missing += [f"attribute {name!r}" for name in ("affine", "volume_shape") if name not in response.attrs]
    if missing:
        raise brainlens.DimensionError(
            "response: expected coordinates i, j, k and attributes affine and volume_shape, which say where its voxels "
            f"lie, found no {', no '.join(missing)}. Import it from NIfTI, or take them from where it came from."
        )
    return Grid(
        affine=np.asarray(response.attrs["affine"], np.float64).reshape(4, 4),
        shape=tuple(int(size) for size in response.attrs["volume_shape"]),
        index=tuple(np.asarray(response[name].values, np.int64) for name in "ijk"),
    )


def _mask_files(params: AttachParams, context: brainlens.Context) -> list[tuple[str, Path]]:
    if isinstance(params.masks, dict):
        return [(name, context.source(path)) for name, path in params.masks.items()]
    files: list[Path] = []
    for path in map(context.source, params.masks):
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(item for item in path.iterdir() if item.name.endswith((".nii", ".nii.gz")))
        if not inside:
            raise brainlens.ParameterError(f"masks {str(path)!r}: expected .nii or .nii.gz files there, found none.")
        files += inside
    return [(name_of_file(path), path) for path in files]


def _open(path: Path, what: str) -> nib.Nifti1Image:
    try:
        image = nib.load(path)
        np.asanyarray(image.dataobj)
    except (ImageFileError, OSError, EOFError, ValueError) as error:
        raise brainlens.ParameterError(
            f"{what}: expected a whole NIfTI image, found {error}. Copy or convert it again."
        ) from error
    if not isinstance(image, nib.Nifti1Image):
        raise brainlens.ParameterError(f"{what}: expected a NIfTI image, found {type(image).__name__}. Convert it.")
    shape = image.shape[:3] if image.ndim == 4 and image.shape[3] == 1 else image.shape
    if len(shape) != 3:
        raise brainlens.DimensionError(
            f"{what}: expected a 3-D image, found shape {image.shape}. Take one volume of it."
        )
    return image if image.ndim == 3 else nib.Nifti1Image(np.asanyarray(image.dataobj)[..., 0], image.affine)


def _on_grid(image: nib.Nifti1Image, grid: Grid, params: AttachParams, what: str) -> np.ndarray:
    """Return the values of an image on the grid of the response, nearest voxels where that was asked for."""
    corners = np.array(
        [[i, j, k, 1] for i in (0, grid.shape[0]) for j in (0, grid.shape[1]) for k in (0, grid.shape[2])]
    )
    apart = float(np.abs((image.affine - grid.affine) @ corners.T).max())
    if image.shape == grid.shape and apart <= GRID_TOLERANCE_MM:
        return np.asanyarray(image.dataobj)
    if not params.resample:
        raise brainlens.DimensionError(
            f"{what} does not lie on the grid of the response.\n"
            f"  shape: expected {grid.shape}, found {tuple(map(int, image.shape))}\n"
            f"  affine: expected {grid.affine.tolist()}\n          found    {image.affine.tolist()}\n"
            "  Set resample=True to take the nearest voxels, with 'space' to say that both lie in one space."
        )
    whole = nib.Nifti1Image(np.zeros(grid.shape, np.uint8), grid.affine)
    values = np.asanyarray(image.dataobj)
    # nilearn refuses int64, and labels may be larger than float32 tells apart.
    labels, code = np.unique(values, return_inverse=True)
    # Outside of the outermost centres scipy fills; with one more voxel around it all of the outermost voxels count.
    around = np.pad(code.reshape(values.shape).astype(np.float64), 1, constant_values=-1)
    numbered = nib.Nifti1Image(around, image.affine @ nib.affines.from_matvec(np.eye(3), [-1, -1, -1]))
    moved = resample_to_img(
        numbered, whole, interpolation="nearest", fill_value=-1, force_resample=True, copy_header=True
    ).get_fdata()
    found = np.zeros(grid.shape, labels.dtype)
    inside = moved >= 0
    found[inside] = labels[np.round(moved[inside]).astype(np.int64)]
    return found

"""Open the files of the dataset and read betas from them in constant memory, with errors that say what is wrong.

NIfTI and MGH files are read as a stream of volumes to their end, so that a compressed file is also compared with its
checksum; of HDF5 files only the parts that hold wanted sites are read. Nothing is resampled.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

import h5py
import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

import brainlens
from brainlens_nsd.layout import GRIDS, N_TRIALS

GRID_TOLERANCE_MM = 0.01
_BLOCK_BYTES = 64 * 2**20
_BROKEN = (
    OSError,
    EOFError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
    ValueError,
    KeyError,
    OverflowError,
    RuntimeError,
    TypeError,
)


@dataclass(frozen=True)
class Grid:
    """Shape of a volume, or (number of vertices,); with an affine (4, 4) to mm where the file has one."""

    shape: tuple[int, ...]
    affine: np.ndarray | None
    path: Path


@dataclass(frozen=True)
class Stored:
    """How the values of a NIfTI or MGH file are stored: uncompressed from a byte on, the first axis fastest."""

    grid: Grid
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int
    scaling: tuple[float, float]

    @property
    def size_bytes(self) -> int:
        """Size of all values."""
        return math.prod(self.shape) * self.dtype.itemsize


def open_image(path: Path, *, what: str) -> Stored:
    """Read the header of a NIfTI or MGH image.

    Raises
    ------
    ParameterError
        If it is no such file or cannot be read.
    """
    with reading(path, what=what):
        if path.suffix in (".mgh", ".mgz"):
            # nibabel leaves these files open when it loads an image.
            with _open_stream(path) as stream:
                header = nib.freesurfer.mghformat.MGHHeader.from_fileobj(stream)
            shape = tuple(map(int, header.get_data_shape()))
            grid = Grid(shape[:1], None, path)
            return Stored(grid, shape, header.get_data_dtype(), int(header.get_data_offset()), (1, 0))
        image = nib.load(path)
    if not isinstance(image, nib.Nifti1Image):
        _refuse(path, what, f"a NIfTI file, found {type(image).__name__}")
    shape = tuple(map(int, image.shape))
    scaling = float(image.dataobj.slope), float(image.dataobj.inter)
    grid = Grid(shape[:3], np.asarray(image.affine), path)
    return Stored(grid, shape, image.dataobj.dtype, int(image.dataobj.offset), scaling)


def check_grid(grid: Grid, reference: Grid, *, what: str) -> None:
    """Refuse a file whose sites are not those of another.

    Raises
    ------
    DimensionError
        With both files, shapes and affines.
    """
    if grid.shape == reference.shape and _is_same_place(grid, reference):
        return
    owner = next((subject for subject, shape in GRIDS.items() if shape == grid.shape), "")
    hint = f" That is the func1pt8mm grid of {owner}." if owner and grid.shape != reference.shape else ""
    lines = [
        f"{what} {str(grid.path)!r} does not lie on the sites of {str(reference.path)!r}; nothing is resampled.",
        f"  shape: expected {reference.shape}, found {grid.shape}.{hint}",
    ]
    if grid.shape == reference.shape and grid.affine is not None and reference.affine is not None:
        lines += [f"  affine: expected {reference.affine.tolist()}", f"          found    {grid.affine.tolist()}"]
    lines.append("  One of them is of another subject or space: download it again into the folder of its subject.")
    raise brainlens.DimensionError("\n".join(lines))


def read_labels(path: Path, *, what: str) -> tuple[np.ndarray, Grid]:
    """Read an image of whole-number labels: int32, shape of the grid.

    Raises
    ------
    ParameterError
        If it is damaged, or a value is not whole.
    """
    values, grid = read_values(path, what=what)
    whole = np.isfinite(values) & (values == np.round(values))
    if not whole.all():
        _refuse(path, what, f"whole-number labels, found {values[~whole].ravel()[0].item()!r}")
    return values.astype(np.int32), grid


def read_values(path: Path, *, what: str) -> tuple[np.ndarray, Grid]:
    """Read an image of one value for each site; shape of the grid.

    Raises
    ------
    ParameterError
        If it is damaged or has more than one value for a site.
    """
    stored = open_image(path, what=what)
    if math.prod(stored.shape) != math.prod(stored.grid.shape):
        _refuse(path, what, f"one value for each site, found shape {stored.shape}")
    with reading(path, what=what), _open_stream(path) as stream:
        stream.read(stored.offset)
        content = _take(stream, stored.size_bytes, "the values")
        _finish(stream)
    values = np.frombuffer(content, stored.dtype).reshape(stored.grid.shape, order="F")
    slope, inter = stored.scaling
    return values if (slope, inter) == (1, 0) else values * slope + inter, stored.grid


@dataclass(frozen=True)
class Betas:
    """One file of betas: its grid, and the dtype and scale of its values, in which 1 is 1 % signal change."""

    path: Path
    grid: Grid
    dtype: np.dtype
    scale: float


def inspect_betas(path: Path) -> Betas:
    """Look at a file of betas without reading them.

    Raises
    ------
    ParameterError
        If it is damaged or cut short, or holds other values than NSD's: int16, % signal change times 300, in volumes
        and HDF5; float32, % signal change, in .mgh.
    DimensionError
        If it does not hold 750 trials.
    """
    return _inspect_hdf5(path) if path.suffix == ".hdf5" else _inspect_image(path)


def extract(betas: Betas, sites: np.ndarray, out: np.ndarray) -> None:
    """Read some sites of all trials.

    Parameters
    ----------
    betas
        As from `inspect_betas`.
    sites
        Positions in the grid counted with the last axis fastest, ascending; shape (n_sites,).
    out
        Is filled; shape (750, n_sites), in the dtype of the file.

    Raises
    ------
    ParameterError
        If the file is damaged or cut short.
    """
    if betas.path.suffix == ".hdf5":
        with reading(betas.path, what="betas"), h5py.File(betas.path, "r") as file:
            _extract_hdf5(file["betas"], betas.grid.shape, sites, out)
        return
    stored = open_image(betas.path, what="betas")
    places = np.ravel_multi_index(np.unravel_index(sites, betas.grid.shape), betas.grid.shape, order="F")
    with reading(betas.path, what="betas"), _open_stream(betas.path) as stream:
        stream.read(stored.offset)
        for trial in range(N_TRIALS):
            volume = _take(stream, stored.size_bytes // N_TRIALS, f"trial {trial + 1} of {N_TRIALS}")
            out[trial] = np.frombuffer(volume, stored.dtype)[places]
        _finish(stream)


@contextmanager
def reading(path: Path, *, what: str) -> Iterator[None]:
    """Turn whatever a reader raises about a file into one error that names it."""
    try:
        yield
    except _BROKEN as error:
        raise brainlens.ParameterError(
            f"{what} {str(path)!r}: expected a whole file, found {error or type(error).__name__}. It is damaged, cut "
            "short or not yet complete: download it again; what was read of other files is kept."
        ) from error


def _is_same_place(grid: Grid, reference: Grid) -> bool:
    if grid.affine is None or reference.affine is None:
        return True
    corners = np.array([[i, j, k, 1] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (*reference.shape, 1)
    return bool(np.abs((grid.affine - reference.affine) @ corners.T).max() <= GRID_TOLERANCE_MM)


def _refuse(path: Path, what: str, expected: str) -> NoReturn:
    raise brainlens.ParameterError(
        f"{what} {str(path)!r}: expected {expected}. It is not as it was published: download it again."
    )


def _open_stream(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path) if path.suffix in (".gz", ".mgz") else path.open("rb"))


def _take(stream: BinaryIO, size: int, part: str) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError(f"the end of the file in {part}")
    return content


def _finish(stream: BinaryIO) -> None:
    """Read to the end, where a compressed file is compared with its checksum."""
    while stream.read(2**22):
        pass


def _inspect_image(path: Path) -> Betas:
    stored = open_image(path, what="betas")
    n_sites = math.prod(stored.grid.shape)
    if len(stored.shape) != 4 or stored.shape[3] != N_TRIALS or math.prod(stored.shape[:3]) != n_sites:
        _refuse_trials(path, stored.shape)
    wanted = np.dtype(np.float32 if path.suffix == ".mgh" else np.int16)
    _check_dtype(path, stored.dtype, wanted)
    if stored.scaling != (1, 0):
        slope, inter = stored.scaling
        _refuse(path, "betas", f"scl_slope 1 and scl_inter 0 in the header, found {slope:g} and {inter:g}")
    if path.suffix != ".gz":
        needed = stored.offset + stored.size_bytes
        with reading(path, what="betas"):
            if path.stat().st_size < needed:
                raise EOFError(f"{path.stat().st_size} bytes where the header promises {needed}")
    return Betas(path, stored.grid, wanted, 1.0 if wanted.kind == "f" else 1 / 300)


def _inspect_hdf5(path: Path) -> Betas:
    with reading(path, what="betas"), h5py.File(path, "r") as file:
        found = file.get("betas")
        known = [str(name) for name in file]
        if isinstance(found, h5py.Dataset):
            shape, dtype = tuple(map(int, found.shape)), found.dtype
    if not isinstance(found, h5py.Dataset):
        raise brainlens.ParameterError(
            f"betas {str(path)!r}: expected a dataset 'betas', found none. {brainlens.closest('betas', known)}"
        )
    if len(shape) not in (2, 4) or shape[0] != N_TRIALS:
        _refuse_trials(path, shape)
    _check_dtype(path, dtype, np.dtype(np.int16))
    # MATLAB wrote (x, y, z, trial), which HDF5 holds the other way round.
    return Betas(path, Grid(shape[:0:-1], None, path), np.dtype(np.int16), 1 / 300)


def _refuse_trials(path: Path, shape: tuple[int, ...]) -> NoReturn:
    raise brainlens.DimensionError(
        f"betas {str(path)!r}: expected {N_TRIALS} trials of one session, found shape {shape}. Betas of the resting or "
        "other experiments are not read; otherwise download the file again."
    )


def _check_dtype(path: Path, found: np.dtype, wanted: np.dtype) -> None:
    if found.newbyteorder("=") != wanted:
        unit = "% signal change" if wanted.kind == "f" else "% signal change times 300"
        _refuse(path, "betas", f"values of dtype {wanted}, {unit}, found {found}")


def _extract_hdf5(dataset: h5py.Dataset, shape: tuple[int, ...], sites: np.ndarray, out: np.ndarray) -> None:
    chunks = dataset.chunks or (1, *dataset.shape[1:])
    index = np.unravel_index(sites, shape)
    if chunks[0] < N_TRIALS:
        size = math.prod(shape) * dataset.dtype.itemsize
        step = max(1, _BLOCK_BYTES // size // chunks[0]) * chunks[0]
        for start in range(0, N_TRIALS, step):
            out[start : start + step] = dataset[start : start + step][(slice(None), *index[::-1])]
        return
    for place, here in _rows(index):
        first = index[0][here]
        low, high = int(first.min()), int(first.max()) + 1
        out[:, here] = dataset[(slice(None), *place, slice(low, high))][:, first - low]


def _rows(index: tuple[np.ndarray, ...]) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Group sites into rows along the first axis of the grid, short enough to be read at once.

    Yields the place of the row along the other axes, in the order of the HDF5 file, and the positions of its sites.
    """
    if len(index) == 1:
        longest = _BLOCK_BYTES // (2 * N_TRIALS)
        groups = index[0] // longest
    else:
        groups = np.ravel_multi_index(index[:0:-1], tuple(int(axis.max()) + 1 for axis in index[:0:-1]))
    order = np.argsort(groups, kind="stable")
    for here in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        yield tuple(int(axis[here[0]]) for axis in index[:0:-1]), here

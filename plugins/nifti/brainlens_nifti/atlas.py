"""Read label images and the names of their labels, whatever the dtype, order and gaps of the labels.

Which voxels of an atlas lie in the analysis mask is settled in `regions`.
"""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

import brainlens
from brainlens_nifti.tables import read_rows, text_column, to_frame


def check_unique(names: list[str], *, where: str) -> None:
    """Refuse ROI names that occur twice.

    Raises
    ------
    ParameterError
        Naming them.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise brainlens.ParameterError(
            f"{where}: expected unique ROI names, found {brainlens.listed(twice)} more than once. "
            "Give the files as a mapping from name to file, or rename them in the table."
        )


def read_atlas_image(image: nib.Nifti1Image) -> np.ndarray:
    """Read a label image as int64, whatever the dtype it is stored in.

    Raises
    ------
    ParameterError
        If a value is not a whole number.
    """
    values = np.asanyarray(image.dataobj)
    broken = values[~np.isfinite(values) | (values != np.round(values))]
    if broken.size:
        raise brainlens.ParameterError(
            f"atlas {image.get_filename()!r}: expected whole-number labels, found {broken.size} voxels with "
            "other values, "
            f"such as {broken[0].item()!r}. Probabilistic maps and interpolated atlases are no label images."
        )
    return np.asarray(values).astype(np.int64)


def read_atlas_names(path: Path) -> dict[int, str]:
    """Read the names of labels: a table with columns index and name, rows of both, or one name per line.

    Lines that start with '#' are comments, as in FreeSurfer's tables, of which the first two columns are used. In a
    list of names, the first line names label 1. Label 0 is background and left out.

    Raises
    ------
    ParameterError
        If the columns cannot be told, or an index or name occurs twice.
    """
    what = "atlas_labels"
    rows = read_rows(path, what=what, comment="#")
    if "index" in rows[0] or "name" in rows[0]:
        frame = to_frame(rows, path, what=what)
        columns = (text_column(frame, name, path=path, what=what).tolist() for name in ("index", "name"))
        pairs = list(zip(*columns, strict=True))
    elif len(rows[0]) == 1:
        pairs = [(str(line), row[0]) for line, row in enumerate(rows, start=1)]
    else:
        pairs = [(row[0], row[1]) for row in rows]
    return _check_names(pairs, path)


def _check_names(pairs: list[tuple[str, str]], path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for index, name in pairs:
        try:
            number = int(index)
        except ValueError as error:
            raise brainlens.ParameterError(
                f"atlas_labels {str(path)!r}: expected whole numbers as index, found {index!r} for {name!r}. "
                "Use a table with columns index and name, or one name per line."
            ) from error
        if number in names:
            raise brainlens.ParameterError(
                f"atlas_labels {str(path)!r}: expected every index once, found {number} for {names[number]!r} "
                f"and {name!r}."
            )
        names[number] = name
    names.pop(0, None)
    check_unique(list(names.values()), where=f"atlas_labels {str(path)!r}")
    return names

"""Names of the labels in ROI files: from the colour tables beside them, else as the dataset documents them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import brainlens

KNOWN = MappingProxyType(
    {
        "nsdgeneral": ("nsdgeneral",),
        "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
        "prf-eccrois": ("ecc0pt5", "ecc1", "ecc2", "ecc4", "ecc4+"),
        "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
        "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
        "floc-places": ("OPA", "PPA", "RSC"),
        "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
        "streams": ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
    }
)
# Of these, value and name could not be confirmed by the dataset's own code, so only a colour table will do.
UNSURE = ("floc-words",)
# Their labels are called after the place alone, and so would clash with others.
PREFIXED = ("streams", "Kastner2015", "HCP_MMP1", "corticalsulc", "visualsulc")
MERGED = MappingProxyType({"V1": ("V1v", "V1d"), "V2": ("V2v", "V2d"), "V3": ("V3v", "V3d")})


def read_names(file: str, table: Path | None) -> dict[int, str]:
    """Return the names of the labels of an ROI file, from 1; of some files with the file's name before them.

    Parameters
    ----------
    file
        Name of the ROI file without hemisphere and ending, such as 'prf-visualrois'.
    table
        Its colour table, `prf-visualrois.mgz.ctab`, where there is one.

    Raises
    ------
    ParameterError
        If the table cannot be read, or there is none and the names are not known.

    Examples
    --------
    >>> read_names("streams", None)[1]
    'streams: early'
    """
    if table is not None:
        names: Mapping[int, str] = _read_table(table)
    elif file in KNOWN and file not in UNSURE:
        names = dict(enumerate(KNOWN[file], start=1))
    else:
        raise brainlens.ParameterError(
            f"rois {file!r}: expected the names of its labels in '{file}.mgz.ctab', found no such file in "
            "nsddata/freesurfer/<subject or fsaverage>/label. Download it, or leave the ROI file out of rois."
        )
    prefix = f"{file}: " if file in PREFIXED else ""
    return {label: f"{prefix}{name}" for label, name in names.items()}


def merged_names(file: str, names: Mapping[int, str]) -> dict[str, tuple[int, ...]]:
    """Return the ROIs that several labels make up: V1 of V1v and V1d, and all labels of a localizer.

    Examples
    --------
    >>> merged_names("prf-visualrois", {1: "V1v", 2: "V1d"})
    {'V1': (1, 2)}
    """
    if file.startswith("floc-"):
        return {file: tuple(names)}
    if file != "prf-visualrois":
        return {}
    labels = {name: label for label, name in names.items()}
    parts = {whole: [labels[part] for part in pair if part in labels] for whole, pair in MERGED.items()}
    return {whole: tuple(found) for whole, found in parts.items() if len(found) == 2}


def _read_table(path: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise brainlens.ParameterError(
            f"label table {str(path)!r}: expected text, found {error}. Download it again."
        ) from error
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        if not cells or cells[0].startswith("#"):
            continue
        if len(cells) < 2 or not cells[0].isdecimal():
            raise brainlens.ParameterError(
                f"label table {str(path)!r}, line {number}: expected a number and a name, found {line!r}. "
                "Download it again."
            )
        # Behind the name stand colours, or nothing.
        label, name = int(cells[0]), cells[1]
        if label in names or name in names.values():
            raise brainlens.ParameterError(
                f"label table {str(path)!r}, line {number}: expected every number and name once, found {line!r} again. "
                "Download it again."
            )
        names[label] = name
    names.pop(0, None)
    if not names:
        raise brainlens.ParameterError(
            f"label table {str(path)!r}: expected names of labels from 1 on, found none. Download it again."
        )
    return names

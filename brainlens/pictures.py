"""Contact sheets: small images in named rows and columns, as PNG."""

from __future__ import annotations

import bisect
import io
import math
import re
from collections.abc import Sequence

import numpy as np
import xarray as xr
from PIL import Image, ImageDraw, ImageFont

from brainlens.errors import DimensionError, listed

# In pixels: between images, between wrapped parts of a sheet, the margin with names, names, and labels of columns.
_GAP, _APART, _LEFT, _FONT, _LABEL = 4, 14, 150, 14, 12
_LEAST_SIDE = 96
# Lines of a label above a column.
_LABEL_LINES = 2
_WIDTH = 1600
# Images that are read at once, while they are made smaller.
_BLOCK = 64


def contact_sheet(
    rows: Sequence[tuple[str, np.ndarray]],
    *,
    labels: Sequence[str] = (),
    n_columns: int = 0,
    max_side: int = 0,
    note: str = "",
) -> bytes:
    """Return a sheet of images, one row below another, each with its name, as the bytes of a PNG file.

    Parameters
    ----------
    rows
        Name and images of each row: (image, y, x, rgb) or (image, y, x), uint8; all images of one size. Small images
        are enlarged by whole pixels, so that nothing is smoothed. A name that is too long for its margin is cut in
        the middle. Without any name there is no margin.
    labels
        What stands above each column, such as the stimulus; none: nothing.
    n_columns
        After so many columns all rows go on below; 0: never.
    max_side
        Images of which a side is longer are made smaller by a whole factor, by means over their pixels; 0: none.
    note
        A line below all images.

    Raises
    ------
    DimensionError
        If there are no rows, images differ in size, or there are fewer labels than columns.

    Examples
    --------
    >>> contact_sheet([("seen", np.zeros((2, 64, 64, 3), np.uint8))], labels=["a", "b"])[1:4]
    b'PNG'
    """
    sizes = {images.shape[1:3] for _, images in rows}
    if len(sizes) != 1:
        found = ", ".join(f"{height} x {width}" for height, width in sorted(sizes)) or "no rows"
        raise DimensionError(f"contact sheet: expected images of one size, found {found}. Draw a sheet for each size.")
    longest = max(len(images) for _, images in rows)
    if labels and len(labels) < longest:
        raise DimensionError(
            f"contact sheet: expected a label for each of {longest} columns, found {len(labels)}. Give all, or none."
        )
    height, width = sizes.pop()
    height, width = _drawn_size(height, width, max_side)
    down, right = height + _GAP, width + _GAP
    across = max(1, min(n_columns or longest, longest))
    parts = [range(start, min(start + across, longest)) for start in range(0, longest, across)] or [range(0)]
    label_font, font = ImageFont.load_default(_LABEL), ImageFont.load_default(_FONT)
    shown = [_fitted(label, label_font, width, _LABEL_LINES) for label in labels[:longest]]
    above = max(map(len, shown), default=0) * (_LABEL + 2)
    above += 2 * _GAP if above else 0
    left = _LEFT if any(name for name, _ in rows) else 0
    part_height = above + len(rows) * down
    below = _LABEL + 3 * _GAP if note else 0
    sheet_width = left + across * right
    if note:
        sheet_width = max(sheet_width, math.ceil(label_font.getlength(note)) + 2 * _GAP)
    sheet = Image.new("RGB", (sheet_width, len(parts) * (part_height + _APART) - _APART + below), "white")
    brush = ImageDraw.Draw(sheet)
    most = max(1, down // (_FONT + 2))
    names = ["\n".join(_fitted(name, font, _LEFT - 2 * _GAP, most)) for name, _ in rows]
    for number, part in enumerate(parts):
        top = number * (part_height + _APART)
        for column, lines in enumerate(shown[part.start : part.stop]):
            # Above its image, however many lines others have.
            foot = (left + column * right, top + above - _GAP)
            brush.text(foot, "\n".join(lines), fill="black", font=label_font, anchor="ld", spacing=2)
        for row, (_, images) in enumerate(rows):
            y = top + above + row * down
            middle = (_GAP, y + height // 2)
            brush.text(middle, names[row], fill="black", font=font, anchor="lm", spacing=2)
            for column, pixels in enumerate(images[part.start : part.stop]):
                sheet.paste(_sized(pixels, height, width), (left + column * right, y))
    if note:
        brush.text((_GAP, sheet.height - _LABEL - 2 * _GAP), note, fill="black", font=label_font)
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def image_sheet(
    dataset: xr.Dataset, *, n_columns: int = 0, max_images: int = 400, first: int = 0, max_side: int = 256
) -> tuple[bytes, str]:
    """Draw the images of a dataset as a contact sheet, with their labels.

    Parameters
    ----------
    dataset
        `image` (..., y, x, rgb) or (..., y, x), uint8, with any dims in front; may be lazy, and no more is read than
        what is shown. Trials and stimuli are columns, with a row for each of the other labels (hits, candidates). Of
        anything else, such as ROIs, each has a row, with the last dim in front of the pixels in columns.
    n_columns
        After so many columns the sheet goes on below; 0: as many as fit into 1,600 pixels.
    max_images
        Images at most; what is left out is said on the sheet.
    first
        Where to begin along the first dim: further pages of many images.
    max_side
        As `contact_sheet` has it; 0: images as large as they are.

    Returns
    -------
    tuple
        The bytes of a PNG file, and in words what was left out, "" if nothing was.

    Raises
    ------
    DimensionError
        If there are no such images, or `first` is behind the last.

    Examples
    --------
    >>> image = ("roi", "candidate", "y", "x"), np.zeros((3, 2, 8, 8), np.uint8)
    >>> painted = xr.Dataset({"image": image}, {"roi": ["V1", "FFA", "PPA"]})
    >>> image_sheet(painted, max_images=4)[1]
    'roi 1 to 2 of 3, 1 left out.'
    """
    image = _images_of(dataset)
    image, note = _part_of(image, max_images=max_images, first=first)
    front = _front(image)
    column = next((dim for dim in front[:1] if dim in ("trial", "stimulus")), front[-1])
    rows = [dim for dim in front if dim != column]
    labels = {dim: labels_along(image, dim) for dim in front}
    _, width = _drawn_size(image.sizes["y"], image.sizes["x"], max_side)
    across = n_columns or max(1, (_WIDTH - (_LEFT if rows else 0)) // (width + _GAP))
    found = []
    for position in np.ndindex(*(image.sizes[dim] for dim in rows)):
        name = " · ".join(labels[dim][index] for dim, index in zip(rows, position, strict=True))
        found.append((name, shrunk(image.isel(dict(zip(rows, position, strict=True))), max_side)))
    return contact_sheet(found, labels=labels[column], n_columns=across, max_side=max_side, note=note), note


def labels_along(image: xr.DataArray, dim: str) -> list[str]:
    """Return what images are called along a dim: the stimulus of a trial, a name, or the dim with a number.

    Examples
    --------
    >>> image = xr.DataArray(np.zeros((2, 4, 4), np.uint8), dims=("candidate", "y", "x"))
    >>> labels_along(image, "candidate")
    ['candidate 0', 'candidate 1']
    """
    if dim == "trial" and "stimulus_id" in image.coords:
        return [str(label) for label in image["stimulus_id"].values]
    if dim not in image.coords:
        return [f"{dim} {number}" for number in range(image.sizes[dim])]
    values = image[dim].values
    return [str(label) if values.dtype.kind in "UOT" else f"{dim} {label}" for label in values]


def shrunk(images: xr.DataArray, max_side: int) -> np.ndarray:
    """Read images (image, y, x, ...), and hold no more of them than a sheet with this `max_side` draws.

    Examples
    --------
    >>> shrunk(xr.DataArray(np.zeros((2, 300, 200), np.uint8), dims=("trial", "y", "x")), 100).shape
    (2, 100, 67)
    """
    height, width = images.shape[1:3]
    factor = _factor(height, width, max_side)
    if factor == 1:
        return np.asarray(images.values)
    parts = []
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK].values
        parts += [np.asarray(Image.fromarray(pixels).reduce(factor)) for pixels in block]
    return np.stack(parts)


def _images_of(dataset: xr.Dataset) -> xr.DataArray:
    if "image" not in dataset:
        found = f"the variables {listed(map(str, dataset.data_vars))}"
    else:
        image = dataset["image"]
        dims = tuple(map(str, image.dims))
        pixels = dims[-3:] if dims[-1:] == ("rgb",) else dims[-2:]
        if pixels[:2] == ("y", "x") and image.dtype == np.uint8 and image.size:
            return image if len(dims) > len(pixels) else image.expand_dims("image")
        found = f"dims {dims} with sizes {image.shape} of {image.dtype}"
    raise DimensionError(
        f"dataset: expected a variable 'image' of dims (..., y, x) or (..., y, x, rgb), uint8, found {found}. Name a "
        "dataset of images."
    )


def _front(image: xr.DataArray) -> list[str]:
    """Return the dims in front of the pixels."""
    return [str(dim) for dim in image.dims if dim not in ("y", "x", "rgb")]


def _part_of(image: xr.DataArray, *, max_images: int, first: int) -> tuple[xr.DataArray, str]:
    """Take as many along the first dim as may be shown, and less of the last dim where one of them is too much."""
    front = _front(image)
    total = image.sizes[front[0]]
    if not 0 <= first < total:
        raise DimensionError(
            f"first: expected a position along {front[0]!r} from 0 to {total - 1}, found {first}. Begin with one that "
            "is there."
        )
    notes = []
    each = math.prod(image.sizes[dim] for dim in front[1:])
    if each > max_images:
        dim, size = front[-1], image.sizes[front[-1]]
        kept = max(1, max_images // (each // size))
        notes.append(f"{dim} 1 to {kept:,} of {size:,}, {size - kept:,} left out")
        image, each = image.isel({dim: slice(kept)}), each // size * kept
    shown = min(total - first, max(1, max_images // each))
    if shown < total:
        left = total - shown
        notes.insert(0, f"{front[0]} {first + 1:,} to {first + shown:,} of {total:,}, {left:,} left out")
        image = image.isel({front[0]: slice(first, first + shown)})
    return image, "; ".join(notes) + "." if notes else ""


def _factor(height: int, width: int, max_side: int) -> int:
    return max(1, math.ceil(max(height, width) / max_side)) if max_side else 1


def _drawn_size(height: int, width: int, max_side: int) -> tuple[int, int]:
    """Return height and width of images on the sheet: a whole part of them, or so many times as large."""
    factor = _factor(height, width, max_side)
    height, width = -(-height // factor), -(-width // factor)
    longer = max(height, width)
    scale = -(-_LEAST_SIDE // longer)
    scale = max(1, min(scale, max_side // longer) if max_side else scale)
    return height * scale, width * scale


def _sized(pixels: np.ndarray, height: int, width: int) -> Image.Image:
    image = Image.fromarray(pixels)
    if image.height > height:
        image = image.reduce(-(-image.height // height))
    return image.resize((width, height), Image.Resampling.NEAREST)


def _fitted(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, most: int) -> list[str]:
    """Break a name into lines of some width, and cut it in the middle where these are more than `most`."""
    name = " ".join(name.split())
    lines = _broken(name, font, width)
    if len(lines) <= most:
        return lines

    def shortened(kept: int) -> list[str]:
        return _broken(f"{name[: -(-kept // 2)]}…{name[len(name) - kept // 2 :]}", font, width)

    # No letter is narrower than two pixels.
    possible = range(1, min(len(name), most * width // 2))
    kept = bisect.bisect_right(possible, most, key=lambda kept: len(shortened(kept)))
    return shortened(max(1, kept))


def _broken(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Break a name after its separators where it can be, and between letters where a piece is too wide."""
    lines = [""]
    for piece in re.findall(r"[^/ _.-]+[/ _.-]?|[/ _.-]", name):
        if font.getlength((lines[-1] + piece).rstrip()) <= width:
            lines[-1] += piece
            continue
        if font.getlength(piece.rstrip()) <= width:
            lines.append(piece)
            continue
        for letter in piece:
            if font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return [line.strip() for line in lines if line.strip()]

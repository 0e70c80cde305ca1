"""Contact sheets: small images in named rows, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from brainlens.errors import DimensionError

_GAP, _LEFT, _FONT = 4, 150, 14
_LEAST_SIDE = 96
# Letters that fit into the margin.
_LONGEST = 20


def contact_sheet(rows: Sequence[tuple[str, np.ndarray]]) -> bytes:
    """Return a sheet of images, one row below another, each with its name, as the bytes of a PNG file.

    Parameters
    ----------
    rows
        Name and images of each row: (image, y, x, rgb) or (image, y, x), uint8; all images of one size. Small images
        are enlarged by whole pixels, so that nothing is smoothed.

    Raises
    ------
    DimensionError
        If there are no rows, or images differ in size.

    Examples
    --------
    >>> contact_sheet([("seen", np.zeros((2, 64, 64, 3), np.uint8))])[1:4]
    b'PNG'
    """
    sizes = {images.shape[1:3] for _, images in rows}
    if len(sizes) != 1:
        found = ", ".join(f"{height} x {width}" for height, width in sorted(sizes)) or "no rows"
        raise DimensionError(f"contact sheet: expected images of one size, found {found}. Draw a sheet for each size.")
    height, width = sizes.pop()
    scale = max(1, -(-_LEAST_SIDE // max(height, width)))
    down, right = height * scale + _GAP, width * scale + _GAP
    columns = max(len(images) for _, images in rows)
    sheet = Image.new("RGB", (_LEFT + columns * right, len(rows) * down), "white")
    brush, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT)
    for number, (name, images) in enumerate(rows):
        brush.text((_GAP, number * down + height * scale // 2 - _FONT), _wrapped(name), fill="black", font=font)
        for column, pixels in enumerate(images):
            large = Image.fromarray(pixels).resize((width * scale, height * scale), Image.Resampling.NEAREST)
            sheet.paste(large, (_LEFT + column * right, number * down))
    stream = io.BytesIO()
    sheet.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _wrapped(name: str) -> str:
    """Break a name where it is too long for the margin: after its slashes, and between its words."""
    if len(name) < _LONGEST:
        return name
    return "\n".join(line for part in name.replace("/", "/\n").split("\n") for line in wrap(part, _LONGEST))

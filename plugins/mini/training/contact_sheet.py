"""Draw many small images on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP, SCALE, MARGIN = 3, 2, 110


def save_sheet(images: np.ndarray, path: Path, *, columns: int, rows: Sequence[str]) -> None:
    """Write images (image, y, x, rgb), uint8, row by row, with a name before each row."""
    height, width = (length * SCALE + GAP for length in images.shape[1:3])
    sheet = Image.new("RGB", (MARGIN + columns * width, len(rows) * height), "white")
    brush, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for number, pixels in enumerate(images):
        row, column = divmod(number, columns)
        large = Image.fromarray(pixels).resize((width - GAP, height - GAP), Image.Resampling.NEAREST)
        sheet.paste(large, (MARGIN + column * width, row * height))
    for row, name in enumerate(rows):
        brush.text((6, row * height + height // 2 - 10), name, fill="black", font=font)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, optimize=True)

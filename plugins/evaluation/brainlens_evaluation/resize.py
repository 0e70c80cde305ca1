"""From stored pixels to what the metrics look at: bilinear without antialiasing, by way of 256 x 256 pixels.

The field's scripts resize tensors with a torchvision that did not antialias unless asked to; images that are reduced
are therefore aliased, and scores depend on it. Nothing is cropped.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

FIRST_SIDE = 256


def to_tensor(pixels: np.ndarray, device: str = "cpu") -> torch.Tensor:
    """Return pixels as (image, rgb, y, x), float32, from 0 to 1; grey images get three equal channels.

    Parameters
    ----------
    pixels
        (image, y, x, rgb) or (image, y, x), uint8.
    device
        Where the result lies.

    Examples
    --------
    >>> to_tensor(np.full((2, 4, 5), 255, np.uint8)).shape
    torch.Size([2, 3, 4, 5])
    """
    images = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
    if images.ndim == 3:
        images = images[..., None].expand(-1, -1, -1, 3)
    return images.permute(0, 3, 1, 2).float() / 255


def resize(images: torch.Tensor, side: int) -> torch.Tensor:
    """Resize to a square, bilinear, without antialiasing, as `torchvision.transforms.Resize(antialias=False)` does.

    Parameters
    ----------
    images
        (image, rgb, y, x), float.
    side
        Pixels.

    Examples
    --------
    >>> resize(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]), 4)[0, 0, 0]
    tensor([0.0000, 0.2500, 0.7500, 1.0000])
    """
    if images.shape[-2:] == (side, side):
        return images
    return F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False, antialias=False)


def first_resize(pixels: np.ndarray, device: str = "cpu") -> torch.Tensor:
    """Return pixels at 256 x 256, which every metric but MS-SSIM starts from; shape (image, rgb, 256, 256).

    Examples
    --------
    >>> first_resize(np.zeros((1, 64, 64, 3), np.uint8)).shape
    torch.Size([1, 3, 256, 256])
    """
    return resize(to_tensor(pixels, device), FIRST_SIDE)

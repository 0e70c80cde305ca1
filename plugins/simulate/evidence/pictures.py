"""Draw the pictures of the documentation: scenes, a clip with its flow, and the regions of a simulated subject.

python plugins/simulate/evidence/pictures.py docs/figures
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import matplotlib as mpl
import numpy as np
import xarray as xr

import brainlens

mpl.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

ACROSS, DOWN = 10, 4
SEED = 5


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as scratch:
        registry = brainlens.open(Path(scratch) / "pictures.zarr", quiet=True)
        registry.ingest("simulate.scenes", "scenes", n=ACROSS * DOWN, size=96, seed=SEED)
        registry.ingest("simulate.clips", "clips", n=3, size=96, seed=SEED)
        registry.ingest("simulate", "sim01", n_stimuli=60, n_shared=20, n_voxels=6000, seed=SEED)
        draw_scenes(registry["scenes/images"].load(), folder / "scenes.png")
        draw_clips(registry["clips/videos"].load(), folder / "clips.png")
        draw_regions(registry["sim01/response"].load(), folder / "regions.png")


def draw_scenes(scenes: xr.Dataset, path: Path) -> None:
    """Show scenes in a grid, and below them the object map and the depth of the first."""
    figure, axes = plt.subplots(DOWN + 2, ACROSS, figsize=(ACROSS, DOWN + 2))
    for axis, pixels in zip(axes[:DOWN].ravel(), scenes["image"].values, strict=True):
        axis.imshow(pixels)
    for column in range(ACROSS):
        axes[DOWN, column].imshow(scenes["object_map"][column], cmap="magma", vmin=0, vmax=3)
        axes[DOWN + 1, column].imshow(np.log(scenes["depth"][column].astype(float)), cmap="viridis_r")
    finish(figure, axes, path)


def draw_clips(clips: xr.Dataset, path: Path) -> None:
    """Show some frames of each clip, and the flow from the first to the next: hue for direction, colour for speed."""
    frames = (0, 3, 6, 9, 12, 15)
    figure, axes = plt.subplots(clips.sizes["stimulus"], len(frames) + 1, figsize=(len(frames) + 1, 3))
    for row, axis in enumerate(axes):
        for column, frame in enumerate(frames):
            axis[column].imshow(clips["video"][row, frame])
        flow = clips["flow"][row, 0].values.astype(float)
        speed = np.hypot(flow[..., 0], flow[..., 1])
        hue = (np.arctan2(flow[..., 1], flow[..., 0]) / (2 * np.pi)) % 1
        full = np.stack([hue, np.clip(speed / max(speed.max(), 1e-9), 0, 1), np.ones_like(hue)], axis=-1)
        axis[-1].imshow(mpl.colors.hsv_to_rgb(full))
    finish(figure, axes, path)


def draw_regions(response: xr.Dataset, path: Path) -> None:
    """Show where the voxels of each region lie, seen from behind, from above and from the right."""
    views = (("x_mm", "z_mm", "from behind"), ("x_mm", "y_mm", "from above"), ("y_mm", "z_mm", "from the right"))
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.6))
    masks = response["roi_mask"]
    names = [name for name in masks["roi"].values.tolist() if name != "visual"]
    colours = plt.get_cmap("tab20")(np.linspace(0, 1, len(names)))
    for axis, (across, up, title) in zip(axes, views, strict=True):
        axis.scatter(response[across], response[up], s=1, color="0.88")
        for name, colour in zip(names, colours, strict=True):
            inside = masks.sel(roi=name).values
            axis.scatter(response[across][inside], response[up][inside], s=3, color=colour, label=name)
        axis.set(title=title, xlabel=f"{across[0]} in mm", ylabel=f"{up[0]} in mm", aspect="equal")
    axes[-1].legend(markerscale=3, fontsize=7, bbox_to_anchor=(1.02, 1), loc="upper left", frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def finish(figure: plt.Figure, axes: np.ndarray, path: Path) -> None:
    """Leave only the pictures, and write the figure."""
    for axis in axes.ravel():
        axis.set_axis_off()
    figure.subplots_adjust(0, 0, 1, 1, 0.03, 0.03)
    figure.savefig(path, dpi=96)


if __name__ == "__main__":
    main()

"""The exporter `roi.plot`: nilearn's glass brains, slices and surfaces, as pictures or interactive pages."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import matplotlib
import nibabel as nib
import numpy as np
import xarray as xr
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from nilearn import datasets, plotting, surface

import brainlens
from brainlens_roi.plot_params import PlotParams
from brainlens_roi.sets import site_dim

DPI = 150
NEAREST = "nearest_most_frequent"
SIGNED, UNSIGNED = "RdBu_r", "inferno"
N_FSAVERAGE5 = 10_242
# What is no farther from 0 is not drawn, for nilearn fills volumes with it.
LEAST = 1e-6
# Where a figure is drawn that has a bar of colours at its right.
BESIDE_BAR = (0.0, 0.0, 0.92, 1.0)


def write(dataset: xr.Dataset, target: Path, *, params: PlotParams, context: brainlens.Context) -> None:
    """Draw one map of a dataset with sites.

    Parameters
    ----------
    dataset
        With a variable of dim `voxel`, and `i`, `j`, `k`, `affine` and `volume_shape`; or of dim `vertex`, whose labels
        are the numbers of the vertices in a mesh.
    target
        File to write: .brain.png, a picture; or .brain.html, an interactive page that needs no network.
    params
        Which map and view; see `PlotParams`.
    context
        Notes the files that were read.

    Raises
    ------
    DimensionError
        If the dataset does not say where its sites lie, or the view needs another space.
    ParameterError
        If a map, hemisphere or mesh has to be named, or nothing is left above the threshold.
    PluginError
        If plotly is not installed, which interactive surfaces need.

    Notes
    -----
    Colours are centred on chance where the map knows it, by a coordinate, variable or attribute `chance` such as
    `roi.map` keeps; otherwise on 0. `centre` moves them.

    A glass brain and the surface of a volume are drawn in MNI space, and refused in any other. On the surface nilearn
    shows the most frequent of the nearest voxels between the white and pial surface of fsaverage5: a picture, no
    registration.
    """
    values, label = choose_map(dataset, params)
    site = site_dim(dataset)
    interactive = target.name.endswith(".html")
    shown = scale(values, label, chance_of(dataset, params, label), params, interactive=interactive)
    title = params.title or label
    if interactive and params.view == "surface" and importlib.util.find_spec("plotly") is None:
        raise brainlens.PluginError(
            "library 'plotly': expected it to be installed for interactive surfaces, found none. Run: pip install "
            "'brainlens-roi[pages]'."
        )
    # Figures never reach a screen: a server has none.
    with matplotlib.rc_context({"figure.dpi": DPI}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Non-finite values detected")
        if site == "vertex":
            view = _draw_vertices(dataset, shown, title, params, context, interactive=interactive)
        else:
            view = _draw_voxels(dataset, shown, title, params, context, interactive=interactive)
        if interactive:
            # A page has no place for words at its bar of colours.
            words = f"<p style='font: 16px sans-serif'>Colours: {shown.words}.</p>" if shown.words else ""
            target.write_text(view.get_standalone().replace("</body>", f"{words}</body>"), "utf-8")
        else:
            view.savefig(target, dpi=DPI, bbox_inches="tight")


def choose_map(dataset: xr.Dataset, params: PlotParams) -> tuple[np.ndarray, str]:
    """Return the values of one map, (site,), float64, and what it is called.

    Raises
    ------
    DimensionError
        If no variable has sites.
    ParameterError
        If a variable or label has to be named, or does not exist.
    """
    site = site_dim(dataset)
    usable = [str(name) for name, each in dataset.data_vars.items() if site in each.dims]
    if not usable:
        raise brainlens.DimensionError(
            f"roi.plot: expected a variable with dim 'voxel' or 'vertex', found dims "
            f"{brainlens.listed(dataset.sizes)}. Put scores of ROIs onto their sites by roi.map."
        )
    wanted = [params.variable] if params.variable else [name for name in usable if name != "roi_mask"] or usable
    if len(wanted) > 1 or wanted[0] not in usable:
        near = brainlens.closest(params.variable, usable, what="variables")
        raise brainlens.ParameterError(f"variable: expected one of those with sites, found {params.variable!r}. {near}")
    variable = dataset[wanted[0]]
    others = [str(dim) for dim in variable.dims if dim != site]
    if len(others) > 1:
        raise brainlens.DimensionError(
            f"roi.plot: expected {wanted[0]!r} with one dim beside {site!r}, found {variable.dims}. Store a part of it."
        )
    if not others:
        return np.asarray(variable.values, np.float64), wanted[0]
    dim = others[0]
    labels = [str(name) for name in variable[dim].values]
    label = params.label or (labels[0] if len(labels) == 1 else "")
    if label not in labels:
        near = brainlens.closest(params.label, labels, what="maps")
        raise brainlens.ParameterError(f"label: expected one along {dim!r}, found {params.label!r}. {near}")
    return np.asarray(variable.isel({dim: labels.index(label)}).values, np.float64), label


def make_image(dataset: xr.Dataset, values: np.ndarray) -> nib.Nifti1Image:
    """Put values of voxels at their places in a volume; 0 elsewhere and where they are not numbers.

    Raises
    ------
    DimensionError
        If the dataset does not say where its voxels lie.
    """
    missing = [f"coordinate {name!r}" for name in "ijk" if name not in dataset.coords]
    missing += [f"attribute {name!r}" for name in ("affine", "volume_shape") if name not in dataset.attrs]
    if missing:
        raise brainlens.DimensionError(
            "roi.plot: expected coordinates i, j, k and attributes affine and volume_shape, found no "
            f"{', no '.join(missing)}. Take them from the response that it was computed from."
        )
    volume = np.zeros(tuple(int(size) for size in dataset.attrs["volume_shape"]), np.float32)
    volume[tuple(np.asarray(dataset[name].values, np.int64) for name in "ijk")] = np.nan_to_num(values)
    return nib.Nifti1Image(volume, np.asarray(dataset.attrs["affine"], np.float64).reshape(4, 4))


@dataclass(frozen=True)
class Scaled:
    """Values as they are handed to nilearn, and the colours that they are drawn in.

    A picture gets the distance from the centre, so that a glass brain shows what lies farthest from it, and a bar of
    colours with the values themselves. A page has nilearn's own bar, and gets the values.
    """

    values: np.ndarray
    colours: dict[str, Any]
    threshold: float
    symmetric: bool
    bar: Normalize
    words: str


def chance_of(dataset: xr.Dataset, params: PlotParams, label: str) -> float | None:
    """Return the chance of a map from what is stored with it, or None.

    Examples
    --------
    >>> names = {"map_name": ["accuracy", "r2"], "chance": ("map_name", [0.5, np.nan])}
    >>> maps = xr.Dataset({"map": (("map_name", "voxel"), np.ones((2, 3)))}, names)
    >>> chance_of(maps, PlotParams(), "accuracy"), chance_of(maps, PlotParams(), "r2")
    (0.5, None)
    """
    known = dataset["chance"] if "chance" in dataset.variables else xr.DataArray(dataset.attrs.get("chance", np.nan))
    if known.ndim == 1 and known.dims[0] in dataset.coords:
        labels = [str(name) for name in dataset[known.dims[0]].values]
        known = known[labels.index(label)] if label in labels else known
    if known.ndim or known.dtype.kind not in "biuf" or not np.isfinite(known):
        return None
    return float(known)


def scale(
    values: np.ndarray, label: str, chance: float | None, params: PlotParams, *, interactive: bool = False
) -> Scaled:
    """Choose the colours of a map: around `centre`, or else around chance, or else around 0.

    Raises
    ------
    ParameterError
        If nothing is left above the threshold, or `vmax` is not above the centre.
    """
    centre = params.centre if params.centre is not None else chance or 0.0
    beyond = values - centre
    if not params.symmetric:
        beyond = np.where(beyond > 0, beyond, np.nan)
    if not np.nanmax(np.abs(beyond), initial=0) > params.threshold:
        where = f"{'farther than' if centre else 'above'} {params.threshold}" + (f" from {centre:g}" if centre else "")
        raise brainlens.ParameterError(
            f"threshold: expected values {where}, found none in {label!r}. Choose a lower one, or another map."
        )
    if params.vmax and params.vmax <= centre:
        raise brainlens.ParameterError(
            f"vmax: expected a value above the centre of the colours, {centre:g}, found {params.vmax:g}. Choose a "
            "higher one, or another 'centre'."
        )
    reach = params.vmax - centre if params.vmax else float(np.nanmax(np.abs(beyond)))
    low = -reach if params.symmetric else 0.0
    bar = Normalize(centre + low, centre + reach)
    cmap = SIGNED if params.symmetric else UNSIGNED
    named = f"chance {centre:.3g}" if centre == chance else f"{centre:.3g}"
    words = "" if not centre else f"{named} in the middle" if params.symmetric else f"above {named}"
    if interactive and centre:
        far = np.abs(np.nan_to_num(beyond)) > max(params.threshold, LEAST)
        # nilearn takes 0 for no value.
        apart = np.where(np.abs(values) > LEAST, values, 2 * LEAST)
        colours = {"cmap": cmap, "vmin": bar.vmin, "vmax": bar.vmax}
        return Scaled(np.where(far, apart, np.nan), colours, LEAST, False, bar, words)
    colours = {"cmap": cmap, "vmin": low, "vmax": reach}
    return Scaled(beyond, colours, params.threshold or LEAST, params.symmetric, bar, words)


def _draw_voxels(
    dataset: xr.Dataset,
    shown: Scaled,
    title: str,
    params: PlotParams,
    context: brainlens.Context,
    *,
    interactive: bool,
) -> Any:
    image, colours, threshold = make_image(dataset, shown.values), shown.colours, shown.threshold
    if params.view in ("glass", "surface"):
        _refuse_other_space(dataset, params.view)
    if params.view == "surface":
        if interactive:
            return plotting.view_img_on_surf(
                image, threshold=threshold, symmetric_cmap=shown.symmetric, title=title, title_fontsize=16,
                vol_to_surf_kwargs={"interpolation": NEAREST}, **colours,
            )  # fmt: skip
        return _surface_of_volume(image, title, shown)
    if params.view == "glass" and not interactive:
        figure = Figure(figsize=(9, 3.6))
        plotting.plot_glass_brain(
            image, figure=figure, axes=BESIDE_BAR, title=title, threshold=threshold, plot_abs=not params.symmetric,
            colorbar=False, symmetric_cbar=shown.symmetric, **colours,
        )  # fmt: skip
        return _with_bar(figure, shown)
    background = _background(dataset, params, context)
    cut = plotting.find_xyz_cut_coords(image, activation_threshold=threshold)
    if interactive:
        return plotting.view_img(
            image, bg_img=background, cut_coords=cut, title=title, threshold=threshold, black_bg=False,
            symmetric_cmap=shown.symmetric, resampling_interpolation="nearest", **colours,
        )  # fmt: skip
    figure = Figure(figsize=(9, 3.6))
    plotting.plot_stat_map(
        image, bg_img=background, cut_coords=cut, figure=figure, axes=BESIDE_BAR, title=title, threshold=threshold,
        black_bg=False, colorbar=False, symmetric_cbar=shown.symmetric, resampling_interpolation="nearest", **colours,
    )  # fmt: skip
    return _with_bar(figure, shown)


def _surface_of_volume(image: nib.Nifti1Image, title: str, shown: Scaled) -> Figure:
    """Draw both hemispheres of fsaverage5 from outside and inside."""
    meshes, sulci = _fsaverage5()
    white = datasets.load_fsaverage("fsaverage5")["white_matter"].parts
    pial = datasets.load_fsaverage("fsaverage5")["pial"].parts
    figure = Figure(figsize=(11, 3.2))
    for number, (side, view) in enumerate(
        (("left", "lateral"), ("left", "medial"), ("right", "medial"), ("right", "lateral"))
    ):
        found = surface.vol_to_surf(image, pial[side], inner_mesh=white[side], interpolation=NEAREST)
        axes = figure.add_subplot(1, 4, number + 1, projection="3d")
        _draw_hemisphere(axes, meshes[side], found, sulci[side], side, view, shown)
    return _with_legend(figure, title, shown)


def _draw_hemisphere(
    axes: Any,
    mesh: Any,
    values: np.ndarray,
    sulcus: np.ndarray | None,
    side: str,
    view: str,
    shown: Scaled,
) -> None:
    plotting.plot_surf_stat_map(
        mesh, values, bg_map=sulcus, hemi=side, view=view, threshold=shown.threshold, colorbar=False, axes=axes,
        figure=axes.figure, **shown.colours,
    )  # fmt: skip
    axes.set_title(f"{side}, {view}", fontsize=9)


def _with_legend(figure: Figure, title: str, shown: Scaled) -> Figure:
    """Add a title and one bar of colours, which takes no room from any view."""
    figure.subplots_adjust(left=0, right=0.92, bottom=0, top=0.88, wspace=0)
    figure.suptitle(title, fontsize=11)
    return _with_bar(figure, shown)


def _with_bar(figure: Figure, shown: Scaled) -> Figure:
    """Add a bar of colours with the values themselves, and what its middle is."""
    bar = figure.add_axes((0.935, 0.2, 0.012, 0.6))
    drawn = figure.colorbar(ScalarMappable(shown.bar, shown.colours["cmap"]), cax=bar, format="%.2g")
    drawn.ax.tick_params(labelsize=8)
    if shown.words:
        drawn.set_label(shown.words, fontsize=8)
        low, high = shown.bar.vmin, shown.bar.vmax
        drawn.set_ticks(np.linspace(low, high, 5))
    return figure


def _draw_vertices(
    dataset: xr.Dataset,
    shown: Scaled,
    title: str,
    params: PlotParams,
    context: brainlens.Context,
    *,
    interactive: bool,
) -> Any:
    if params.view != "surface":
        raise brainlens.DimensionError(f"view {params.view!r}: expected voxels, found vertices. Choose view='surface'.")
    side = _hemisphere(dataset, params)
    mesh, sulcus, n_vertices = _mesh(dataset, side, params, context)
    numbers = np.asarray(dataset["vertex"].values, np.int64)
    chosen = dataset["hemisphere"].values == side if "hemisphere" in dataset.coords else np.ones(len(numbers), bool)
    numbers, found = numbers[chosen], shown.values[chosen]
    if side == "right" and len(numbers) and numbers.min() >= n_vertices:
        numbers = numbers - n_vertices
    if not len(numbers) or numbers.max() >= n_vertices:
        raise brainlens.DimensionError(
            f"mesh: expected {n_vertices} vertices to hold those of the dataset, found numbers up to "
            f"{numbers.max() if len(numbers) else 'none'}. Give the mesh of that space as 'mesh'."
        )
    whole = np.zeros(n_vertices, np.float32)
    whole[numbers] = np.nan_to_num(found)
    if interactive:
        return plotting.view_surf(
            mesh, whole, bg_map=sulcus, hemi=side, threshold=shown.threshold, symmetric_cmap=shown.symmetric,
            title=title, title_fontsize=16, view=side, **shown.colours,
        )  # fmt: skip
    figure = Figure(figsize=(7, 3.2))
    for number, view in enumerate(("lateral", "medial")):
        axes = figure.add_subplot(1, 2, number + 1, projection="3d")
        _draw_hemisphere(axes, mesh, whole, sulcus, side, view, shown)
    return _with_legend(figure, title, shown)


def _refuse_other_space(dataset: xr.Dataset, view: str) -> None:
    space = str(dataset.attrs.get("space", ""))
    if not space.upper().startswith("MNI"):
        raise brainlens.DimensionError(
            f"view {view!r}: expected voxels in MNI space, found space {space!r}. Choose view='slices', or bring "
            "the map to MNI space first."
        )


def _background(dataset: xr.Dataset, params: PlotParams, context: brainlens.Context) -> Any:
    if params.background:
        return str(context.source(params.background))
    if str(dataset.attrs.get("space", "")).upper().startswith("MNI"):
        return datasets.load_mni152_template(resolution=2)
    return None


def _hemisphere(dataset: xr.Dataset, params: PlotParams) -> str:
    found = list(dict.fromkeys(map(str, dataset["hemisphere"].values))) if "hemisphere" in dataset.coords else []
    if params.hemisphere and (not found or params.hemisphere in found):
        return params.hemisphere
    if len(found) == 1 and not params.hemisphere:
        return found[0]
    raise brainlens.ParameterError(
        f"hemisphere: expected 'left' or 'right', one that the dataset has, found {params.hemisphere!r}. It has "
        f"{brainlens.listed(found) or 'none'}."
    )


def _mesh(
    dataset: xr.Dataset, side: str, params: PlotParams, context: brainlens.Context
) -> tuple[Any, np.ndarray | None, int]:
    if params.mesh:
        path = context.source(params.mesh)
        try:
            mesh = surface.load_surf_mesh(str(path))
        except (ExpatError, ValueError, OSError) as error:
            raise brainlens.ParameterError(
                f"mesh {str(path)!r}: expected a mesh (.surf.gii), found {error}."
            ) from error
        return mesh, None, len(mesh.coordinates)
    if dataset.attrs.get("space") != "fsaverage5":
        raise brainlens.ParameterError(
            f"mesh: expected the path of the mesh, since the space is {dataset.attrs.get('space')!r} and only that of "
            "fsaverage5 comes with nilearn, found ''."
        )
    meshes, sulci = _fsaverage5()
    return meshes[side], sulci[side], N_FSAVERAGE5


def _fsaverage5() -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return inflated meshes and sulcal depth, by hemisphere; both come with nilearn."""
    meshes = datasets.load_fsaverage("fsaverage5")["inflated"].parts
    sulci = datasets.load_fsaverage_data(mesh="fsaverage5", data_type="sulcal").data.parts
    return meshes, sulci

"""What simulated voxels answer to images: families of voxels on a sheet, linear and nonlinear.

Responses here are noiseless and have mean 0 and variance 1 over images; their size against noise is set elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from brainlens_simulate.world_params import Knobs

FAMILIES = ("low", "semantic", "mixed", "null")
_FORMS = ("linear", "energy", "product", "relu", "tanh")
_PATCH = 20  # voxels
_N_SPARSE = 3
_DENSE = 0.3
_OWN = 0.6
_RELU_AT = 0.7


@dataclass(frozen=True)
class VoxelCode:
    """The noiseless responses of all voxels as functions of what the brain sees.

    Attributes
    ----------
    family
        Of each voxel, one of `FAMILIES`; shape (n_voxels,).
    form
        How it answers, one of linear, energy, product, relu, tanh; none for null voxels; shape (n_voxels,).
    position
        Row and column on the sheet, in voxels; shape (n_voxels, 2).
    first, second
        Weights of the two projections that a voxel reads, of which linear ones read the first; shape
        (n_seen, n_voxels). Projections have variance 1 over images; weights of null voxels are 0.
    centre, size
        Mean and SD of the answers over images, by which they are standardised; shape (n_voxels,).
    seen_mean
        Mean of what is seen; shape (n_seen,).
    """

    family: np.ndarray
    form: np.ndarray
    position: np.ndarray
    first: np.ndarray
    second: np.ndarray
    centre: np.ndarray
    size: np.ndarray
    seen_mean: np.ndarray


def draw_code(knobs: Knobs, n_voxels: int, seen: np.ndarray, rng: np.random.Generator) -> VoxelCode:
    """Draw the voxels of a brain.

    Parameters
    ----------
    knobs
        Which latents are low-level, and the shares of nonlinear and even voxels.
    n_voxels
        How many.
    seen
        What the brain sees of reference images, which set the scale; shape (n_images, n_seen).
    rng
        Draws them.
    """
    position, patch = _lay_out(n_voxels, rng)
    family = _assign_families(patch, rng)
    form = np.where(family == "null", "none", _assign_forms(knobs, n_voxels, rng))
    seen_mean = seen.mean(axis=0)
    centred = seen - seen_mean
    first, second = (_draw_weights(knobs, family, patch, rng) for _ in range(2))
    for weights in (first, second):
        spread = (centred @ weights).std(axis=0)
        weights /= np.where(spread > 0, spread, 1)
    raw = VoxelCode(family, form, position, first, second, np.zeros(n_voxels), np.ones(n_voxels), seen_mean)
    answers = noiseless(raw, seen)
    size = answers.std(axis=0)
    return VoxelCode(**{**vars(raw), "centre": answers.mean(axis=0), "size": np.where(family == "null", 1, size)})


def noiseless(code: VoxelCode, seen: np.ndarray) -> np.ndarray:
    """Return the noiseless answers to images (n_images, n_seen); shape (n_images, n_voxels), null voxels 0."""
    centred = seen - code.seen_mean
    answers = centred @ code.first
    for form in sorted(set(code.form.tolist()) - {"linear", "none"}):
        voxels = np.flatnonzero(code.form == form)
        answers[:, voxels] = _answer(form, answers[:, voxels], centred @ code.second[:, voxels])
    return np.asarray((answers - code.centre) / code.size)


def _answer(form: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if form == "energy":
        return np.asarray(np.hypot(a, b))
    if form == "product":
        return np.asarray(a * b)
    return np.asarray(np.maximum(a - _RELU_AT, 0) if form == "relu" else np.tanh(2 * a))


def _lay_out(n_voxels: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return positions on a square sheet, and the patch of each voxel: the nearest of some points."""
    side = int(np.ceil(np.sqrt(n_voxels)))
    position = np.stack(np.divmod(np.arange(n_voxels), side), axis=1)
    middles = rng.uniform(0, side, (max(len(FAMILIES), n_voxels // _PATCH), 2))
    patch = np.empty(n_voxels, dtype=np.int64)
    for rows in np.array_split(np.arange(n_voxels), max(1, n_voxels * len(middles) // 2**22)):
        patch[rows] = ((position[rows, None] - middles) ** 2).sum(axis=2).argmin(axis=1)
    return position, patch


def _assign_families(patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give each family a quarter of the voxels, patch by patch."""
    order = np.argsort(rng.permutation(patch.max() + 1)[patch], kind="stable")
    family = np.empty(len(patch), dtype="<U8")
    family[order] = np.array(FAMILIES)[np.arange(len(patch)) * len(FAMILIES) // len(patch)]
    return family


def _assign_forms(knobs: Knobs, n_voxels: int, rng: np.random.Generator) -> np.ndarray:
    """Deal forms out in fixed numbers and random order."""
    even, odd = knobs.nonlinear * knobs.even / 2, knobs.nonlinear * (1 - knobs.even) / 2
    edges = np.cumsum([1 - knobs.nonlinear, even, even, odd, odd])[:-1]
    return rng.permutation(np.array(_FORMS)[np.searchsorted(edges, (np.arange(n_voxels) + 0.5) / n_voxels)])


def _draw_weights(knobs: Knobs, family: np.ndarray, patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw weights on latents, shape (n_seen, n_voxels): a few large ones and many small of the patch, some own."""
    n_patches, n_voxels = patch.max() + 1, len(patch)
    n_semantic = knobs.n_concepts + knobs.n_attributes
    weights = np.zeros((n_semantic + knobs.n_low_level, n_voxels))
    reads = {"low": (n_semantic, len(weights)), "semantic": (0, n_semantic), "mixed": (0, len(weights))}
    for name, (start, stop) in reads.items():
        voxels = np.flatnonzero(family == name)
        n_read = stop - start
        few = rng.random((n_read, n_patches)).argsort(axis=0).argsort(axis=0) < min(_N_SPARSE, n_read)
        ours = (few + _DENSE * ~few) * rng.standard_normal((n_read, n_patches))
        weights[start:stop, voxels] = ours[:, patch[voxels]] + _OWN * rng.standard_normal((n_read, len(voxels)))
    return weights

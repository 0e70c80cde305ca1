"""A first pass over a shard: which items may be among the most similar, by matrix products of low precision.

It drops nothing that could be a hit without saying how similar that could have been at most; `exact` decides with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

import brainlens
from brainlens_retrieval.directions import STEP_BYTES, Space, directions, refuse_without_direction
from brainlens_retrieval.shards import Shard, block_rows, read_block, spans

if TYPE_CHECKING:
    import torch

# Scores are first reduced to the largest of so many neighbours: looking for the best among those reads each once.
GROUP = 64
_TILE_ROWS = 512
# In smaller shards rounding the items costs more than the product gains.
BFLOAT16_FROM = 20_000
# A vector of this length or less has squares that float32 cannot hold.
_SHORT = 1e-15
# Above these ratios of what is taken off to what is left, float32 is too coarse to take it off.
_FAR_OFF = {"correlation": 1e3, "cosine": np.inf, "centred-cosine": 8.0}


@dataclass(frozen=True)
class Candidates:
    """What a first pass found for each query, and what can be said about everything else.

    Parameters
    ----------
    score
        Shape (n_queries, n_kept), float32: approximate similarities, from the largest; -inf where there are fewer.
    position
        Shape (n_queries, n_kept), int64: rows of the shard; -1 where there are fewer.
    is_all
        Whether every item of the shard was kept.
    margin, relative
        A similarity differs from its score by at most `margin + relative * abs(score)`.
    """

    score: np.ndarray
    position: np.ndarray
    is_all: bool
    margin: float
    relative: float = 0.0

    def upper(self, score: np.ndarray) -> np.ndarray:
        """Return the largest similarity that may be behind a score."""
        return score + self.margin + self.relative * np.abs(score)

    def lower(self, score: np.ndarray) -> np.ndarray:
        """Return the smallest similarity that may be behind a score."""
        return score - self.margin - self.relative * np.abs(score)


def float32_margin(n_values: int) -> float:
    """Return how far a product of two directions in float32 may be from the truth.

    Parameters
    ----------
    n_values
        Length of the vectors.

    Returns
    -------
    float
        The bound of Higham & Mary for the product and for the length, 8 standard deviations wide: what it leaves out
        is less likely than a wrong bit in memory.

    References
    ----------
    Higham & Mary (2019), SIAM J Sci Comput 41(5), theorem 2.4, doi:10.1137/18M1226312, with lambda = 8.

    Examples
    --------
    >>> float32_margin(768) < 3e-5
    True
    """
    return (2 * 8 * n_values**0.5 + 16) * 2.0**-24


def choose_precision(wanted: str, n_rows: int, device: str) -> str:
    """Return the precision of a first pass: what was asked for, or what is faster.

    Parameters
    ----------
    wanted
        `"auto"`, `"float32"` or `"bfloat16"`.
    n_rows
        Items of the shard.
    device
        Where products are computed.

    Returns
    -------
    str
        `"float32"` or `"bfloat16"`.

    Examples
    --------
    >>> choose_precision("auto", 300, "cpu")
    'float32'
    """
    if wanted != "auto":
        return wanted
    if n_rows <= BFLOAT16_FROM:
        return "float32"
    import torch

    # Older processors turn each bfloat16 into a float32 first, which takes longer than the product.
    has = device != "cpu" or "AVX512" in torch.backends.cpu.get_cpu_capability()
    return "bfloat16" if has else "float32"


def find_candidates(
    shard: Shard,
    queries: np.ndarray,
    space: Space,
    *,
    n_kept: int,
    precision: str,
    context: brainlens.Context,
    floor: np.ndarray | None = None,
) -> Candidates:
    """Find the items of a shard whose approximate similarity is largest, for each of many queries.

    Parameters
    ----------
    shard
        Where to look.
    queries
        Shape (n_queries, n_values), float64, directions.
    space
        What is compared.
    n_kept
        How many to keep for each query.
    precision
        Of the matrix product: `"float32"` or `"bfloat16"`.
    context
        For device and progress.
    floor
        Shape (n_queries,), float32: what is no more similar than this need not be found; -inf for everything.

    Returns
    -------
    Candidates
        Positions are those of the shard.

    Raises
    ------
    DimensionError
        If an item is not finite or has no direction.

    Examples
    --------
    >>> import xarray as xr
    >>> items = xr.Dataset({"embedding": (("stimulus", "channel"), np.eye(3, 4))}, {"stimulus": ["a", "b", "c"]})
    >>> shard, space = Shard("toy", items, "stimulus"), Space("cosine")
    >>> find_candidates(shard, np.eye(4)[[2]], space, n_kept=1, precision="float32", context=brainlens.Context()
    ... ).position
    array([[2]])
    """
    import torch

    dtype = getattr(torch, precision)
    query = torch.from_numpy(queries.astype(np.float32)).to(context.device)
    rounded = query.to(dtype)
    margin, relative = float32_margin(shard.n_values), 0.0
    if dtype != torch.float32 or torch.get_float32_matmul_precision() != "highest":
        # The queries' own rounding is known; that of an item is at most half a unit in the last place of 8 bits.
        # Where products of float32 may be rounded to fewer bits, the coarsest that a device may take is assumed.
        coarse = query.bfloat16()
        margin += float((query - coarse.float()).norm(dim=1).max()) * (1 + 2.0**-8) + 2.0**-9
        relative = 2.0**-9
    n_kept = min(n_kept, shard.n_rows)
    worst = _worst_score(np.full(len(queries), -np.inf) if floor is None else floor, margin, relative)
    score = torch.from_numpy(worst).to(query.device)[:, None].repeat(1, n_kept)
    position = torch.full((len(query), n_kept), -1, dtype=torch.int64, device=query.device)
    buffer = torch.empty(len(query) * _padded(block_rows(shard.n_values)), dtype=dtype, device=query.device)
    for start, unit, n_rows in unit_blocks(shard, space, dtype=dtype, context=context, label="searching"):
        scores = torch.mm(rounded, unit.T, out=buffer[: len(query) * len(unit)].view(len(query), len(unit)))
        scores[:, n_rows:] = -torch.inf
        _keep_largest(score, position, scores, start)
    return Candidates(score.cpu().numpy(), position.cpu().numpy(), n_kept == shard.n_rows, margin, relative)


def _worst_score(floor: np.ndarray, margin: float, relative: float) -> np.ndarray:
    """Return scores behind which no similarity above the floor can be; shape (n_queries,), float32."""
    # The score is not much larger than the larger of both, so three times what is relative to those covers it.
    scale = np.maximum(np.abs(floor), margin)
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(floor), -np.inf, floor - margin - 3 * relative * scale - 2.0**-20).astype(np.float32)


def unit_blocks(
    shard: Shard, space: Space, *, dtype: Any, context: brainlens.Context, label: str
) -> Iterator[tuple[int, torch.Tensor, int]]:
    """Yield blocks of a shard as directions on the device, with rows of zeros up to a multiple of 64.

    Parameters
    ----------
    shard, space
        What to read, and what is taken off.
    dtype
        Of the directions: `torch.float32` or `torch.bfloat16`.
    context
        For device and progress.
    label
        What is being done, for the bar.

    Yields
    ------
    start
        Position of the first row.
    unit
        Shape (n_padded, n_values), in a buffer that the next block is written to.
    n_rows
        How many rows are items.
    """
    import torch

    n_padded = _padded(block_rows(shard.n_values))
    shared = torch.empty((n_padded, shard.n_values), dtype=dtype, device=context.device)
    work = torch.empty((n_padded, shard.n_values), dtype=torch.float32, device=context.device)
    bars = context.progress(spans(shard), label=f"{label} {shard.name}")
    for start, stop in bars:
        n_rows = stop - start
        unit = shared[: _padded(n_rows)]
        _write_directions(shard, (start, stop), space, unit[:n_rows], work[:n_rows])
        unit[n_rows:] = 0
        yield start, unit, n_rows


def _write_directions(
    shard: Shard, span: tuple[int, int], space: Space, unit: torch.Tensor, work: torch.Tensor
) -> None:
    """Fill `unit` with the directions of a block; `work` is room for them in float32."""
    import torch

    block = read_block(shard, *span)
    rows = _as_tensor(block).to(unit.device)
    if rows.dtype != torch.float32:
        rows = rows.float()
    off = None
    if space.metric == "correlation":
        mean = rows.mean(dim=1, keepdim=True)
        off = mean[:, 0].abs() * shard.n_values**0.5
        rows = torch.sub(rows, mean, out=work)
    elif space.centre is not None:
        centre = torch.from_numpy(space.centre.astype(np.float32)).to(rows.device)
        off = centre.norm()
        rows = torch.sub(rows, centre, out=work)
    length = torch.linalg.vector_norm(rows, dim=1)
    is_safe = length.isfinite() & (length > _SHORT)
    if off is not None:
        is_safe &= off <= _FAR_OFF[space.metric] * length
    if bool(is_safe.all()):
        _write_shortened(rows, length.reciprocal()[:, None], unit, work)
        return
    # What is too long, too short or too far off for float32 is rare; what points nowhere is refused here.
    step = max(1, STEP_BYTES // (8 * shard.n_values))
    for start in range(0, len(block), step):
        part = slice(start, start + step)
        found = directions(block[part], space)
        if np.isnan(found[:, 0]).any():
            where = {"dim": shard.dim, "where": f"gallery {shard.name!r}"}
            refuse_without_direction(block, space, shard.labels()[slice(*span)], **where)
        unit[part] = torch.from_numpy(found).to(unit.device).to(unit.dtype)


def _write_shortened(rows: torch.Tensor, factor: torch.Tensor, unit: torch.Tensor, work: torch.Tensor) -> None:
    """Fill `unit` with rows times a factor; shapes (n, n_values), (n, 1)."""
    import torch

    if unit.device.type != "cpu" or unit.dtype == torch.float32:
        torch.mul(rows, factor, out=unit)
        return
    # On a processor multiplying and rounding in one call takes five times as long as in two, on rows in its cache.
    for start in range(0, len(rows), _TILE_ROWS):
        part = slice(start, start + _TILE_ROWS)
        unit[part].copy_(torch.mul(rows[part], factor[part], out=work[part]))


def _keep_largest(score: torch.Tensor, position: torch.Tensor, scores: torch.Tensor, start: int) -> None:
    """Merge the scores of a block into what is kept, shape (n_queries, n_kept), from the largest.

    A group whose largest score does not exceed the smallest that is kept holds nothing to keep.
    """
    grouped = scores.view(len(scores), -1, GROUP)
    largest = _largest_of_groups(grouped, is_positive=bool((score[:, -1] >= 0).all()))
    counts = (largest > score[:, -1:]).sum(dim=1)
    # All queries of a step look into as many groups as the one that needs most, so the few that need many go apart.
    usual = 2 * int(counts.float().mean()) + 1
    for least, most in ((1, usual), (usual + 1, largest.shape[1])):
        chosen = ((counts >= least) & (counts <= most)).nonzero()[:, 0]
        if len(chosen):
            n_groups = int(counts[chosen].max())
            parts = (score[chosen], position[chosen], grouped, largest[chosen], chosen)
            score[chosen], position[chosen] = _merge_groups(*parts, n_groups, start)


def _largest_of_groups(grouped: torch.Tensor, *, is_positive: bool) -> torch.Tensor:
    """Return the largest of each group; where only what exceeds 0 matters, other groups may get a wrong one below 0.

    The bits of a bfloat16 that is not negative, read as a whole number, have the order of the values, and numbers are
    compared several times as fast. Those of negative ones are all below them.
    """
    import torch

    if not is_positive or grouped.dtype != torch.bfloat16:
        return grouped.amax(dim=2)
    return grouped.view(torch.int16).amax(dim=2).view(torch.bfloat16)


def _merge_groups(
    score: torch.Tensor,
    position: torch.Tensor,
    grouped: torch.Tensor,
    largest: torch.Tensor,
    rows: torch.Tensor,
    n_groups: int,
    start: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what is kept of some rows once `n_groups` groups of each were looked into, those of the largest maxima."""
    import torch

    n_kept = score.shape[1]
    # No more groups than are kept can hold something to keep.
    groups = largest.topk(min(n_groups, n_kept), dim=1).indices
    values = grouped[rows[:, None], groups].reshape(len(rows), -1).float()
    joined, which = torch.cat([score, values], dim=1).topk(n_kept, dim=1)
    place = (which - n_kept).clamp(min=0)
    found = start + groups.gather(1, place // GROUP) * GROUP + place % GROUP
    kept = position.gather(1, which.clamp(max=n_kept - 1))
    return joined, torch.where(which < n_kept, kept, found)


def _as_tensor(block: np.ndarray) -> torch.Tensor:
    """Return a tensor on the memory of an array, which may be a map of a file and is only read."""
    import torch

    if not block.dtype.isnative:
        block = block.astype(block.dtype.newbyteorder("="))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ", category=UserWarning)
        return torch.from_numpy(block)


def _padded(n_rows: int) -> int:
    return -(-n_rows // GROUP) * GROUP

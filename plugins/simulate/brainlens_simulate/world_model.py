"""A world as it is drawn and calibrated: images, voxels and noise together; no datasets are made here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

import brainlens
from brainlens_simulate.calibration import bisect_knob
from brainlens_simulate.latents import LatentSpace, draw_latents, draw_space, embed, see
from brainlens_simulate.voxel_code import VoxelCode, draw_code, noiseless
from brainlens_simulate.world_noise import Blocks, Noise, draw_blocks, mix_noise
from brainlens_simulate.world_params import Knobs, WorldParams

N_REFERENCE = 2000
N_CALIBRATION = 1600
CALIBRATION_POOL = 300
_SPACE, _REFERENCE, _CODE, _NOISE, _CALIBRATION = range(5)


@dataclass(frozen=True)
class World:
    """A drawn world: how images are made, how voxels answer, and what their noise is.

    Attributes
    ----------
    knobs
        With the value that calibration found.
    space, code, blocks
        Images and embeddings, noiseless responses, and what the noise is made of.
    noise
        The noise, and the size of the noiseless responses.
    """

    knobs: Knobs
    space: LatentSpace
    code: VoxelCode
    blocks: Blocks
    noise: Noise

    def draw_images(self, n_images: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw images; return embedding, what the brain sees of it, and noiseless responses, float32, z."""
        latents = draw_latents(self.space, n_images, rng)
        embedding = embed(self.space, latents)
        seen = see(self.space, latents, embedding)
        drive = noiseless(self.code, seen) * self.noise.signal_std
        return embedding.astype(np.float32), seen.astype(np.float32), drive.astype(np.float32)


def draw_world(params: WorldParams, context: brainlens.Context) -> World:
    """Draw a world and calibrate it; images of reference and calibration are none of those that are shown."""
    knobs = params.knobs()
    space = draw_space(knobs, params.n_channels, context.rng(_SPACE))
    latents = draw_latents(space, N_REFERENCE, context.rng(_REFERENCE))
    seen = see(space, latents, embed(space, latents))
    code = draw_code(knobs, params.n_voxels, seen, context.rng(_CODE))
    target = params.ceiling()
    # The patterns of kappa2 are needed while it is looked for.
    sought = knobs.turned(params.calibrate, 1.0) if target else knobs
    blocks = draw_blocks(sought, code.position, noiseless(code, seen), context.rng(_NOISE))
    world = World(knobs=knobs, space=space, code=code, blocks=blocks, noise=mix_noise(blocks, knobs))
    if target is None:
        return world

    def turned(value: float) -> World:
        changed = knobs.turned(params.calibrate, value)
        return dataclasses.replace(world, knobs=changed, noise=mix_noise(blocks, changed))

    def ceiling_at(value: float) -> float:
        return image_ceiling(turned(value), n_repetitions=params.n_repetitions, rng=context.rng(_CALIBRATION))

    return turned(bisect_knob(ceiling_at, target, what=params.calibrate))


def image_ceiling(world: World, *, n_repetitions: int, rng: np.random.Generator) -> float:
    """Return the share of new images that the known forward model finds in pools of 300."""
    drive = world.draw_images(N_CALIBRATION, rng)[2]
    law = brainlens.noise_law(world.noise.own_std, world.noise.noise_map, gain=world.knobs.gain, tail=world.knobs.tail)
    shown = brainlens.prepare_stimuli(law, drive)
    scores = np.zeros((N_CALIBRATION, N_CALIBRATION))
    for _ in range(n_repetitions):
        scores += brainlens.log_likelihood(draw_trials(drive, world.noise, world.knobs, rng), shown, law)
    return float(brainlens.hit_rates(scores, pool_size=CALIBRATION_POOL).mean())


def draw_trials(drive: np.ndarray, noise: Noise, knobs: Knobs, rng: np.random.Generator) -> np.ndarray:
    """Draw one trial for each row of noiseless responses.

    Parameters
    ----------
    drive
        Shape (n_trials, n_voxels), z.
    noise, knobs
        The law of the noise; of the knobs `gain` and `tail`.
    rng
        Draws it.

    Returns
    -------
    array
        Shape (n_trials, n_voxels), float32, z.
    """
    n_trials, n_voxels = drive.shape
    gain = 1 + knobs.gain * rng.standard_normal((n_trials, 1))
    shared = rng.standard_normal((n_trials, len(noise.noise_map))) @ noise.noise_map
    own = rng.standard_normal((n_trials, n_voxels)) * noise.own_std
    size = np.sqrt(knobs.tail / rng.chisquare(knobs.tail, (n_trials, 1))) if knobs.tail else 1.0
    return np.asarray(drive * gain + size * (shared + own), dtype=np.float32)

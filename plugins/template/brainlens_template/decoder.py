"""Ridge regression from responses to embeddings; put your own method in its place."""

from __future__ import annotations

import numpy as np
import xarray as xr

import brainlens


class Decoder(brainlens.Trainable):
    """Predict each channel as a weighted sum of the voxels, with a penalty on large weights."""

    def fit(self, response: xr.Dataset, target: xr.Dataset) -> None:
        """Learn from responses (trial, voxel) and the embeddings (trial, channel) of the same trials."""
        x, y = response["response"].values, target["embedding"].values
        # What is learnt goes into attributes that end in "_"; they are saved and loaded for you.
        self.x_mean_, self.y_mean_ = x.mean(axis=0), y.mean(axis=0)
        x = x - self.x_mean_
        penalty = self.params.alpha * np.eye(x.shape[1], dtype=x.dtype)
        flat = (y - self.y_mean_).reshape(len(y), -1)
        self.weights_ = np.linalg.solve(x.T @ x + penalty, x.T @ flat)

    def predict(self, response: xr.Dataset) -> xr.Dataset:
        """Predict embeddings of other trials of the same voxels."""
        flat = (response["response"].values - self.x_mean_) @ self.weights_
        embedding = flat.reshape(-1, *self.y_mean_.shape) + self.y_mean_
        dims = ("trial", "channel") if embedding.ndim == 2 else ("trial", "token", "channel")
        return xr.Dataset({"embedding": (dims, embedding)})

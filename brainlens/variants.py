"""Which variant of a decoded embedding is meant, where its decoder gave several."""

from __future__ import annotations

import xarray as xr

from brainlens.errors import ParameterError, closest, listed


def choose_variant(decoded: xr.Dataset, variant: str, *, name: str = "decoded") -> xr.Dataset:
    """Return an embedding without the dim variant.

    Parameters
    ----------
    decoded
        `embedding` of dims (variant, trial, ...), where `variant` names which, or without that dim.
    variant
        One of the labels; "" where there is no such dim.
    name
        Of the input that it is, for messages.

    Returns
    -------
    Dataset
        That variant, or the same dataset where it has none. What was lazy stays lazy.

    Raises
    ------
    ParameterError
        If a variant has to be chosen, does not exist, or is chosen where there are none.

    Examples
    --------
    >>> embedding = xr.DataArray([[[1.0]], [[2.0]]], {"variant": ["early", "late"]}, ("variant", "trial", "channel"))
    >>> decoded = xr.Dataset({"embedding": embedding})
    >>> choose_variant(decoded, "late", name="latents")["embedding"].values
    array([[2.]])
    """
    if "variant" not in decoded["embedding"].dims:
        if variant:
            raise ParameterError(
                f"variant: expected '', as {name} has no dim 'variant', found {variant!r}. Leave it out."
            )
        return decoded
    names = [str(label) for label in decoded["variant"].values]
    if not variant:
        raise ParameterError(
            f"variant: expected one of the {len(names)} that {name} has, {listed(names, most=20)}, "
            "found ''. Choose one."
        )
    if variant not in names:
        raise ParameterError(
            f"variant: expected one that {name} has, found {variant!r}. {closest(variant, names, what='variants')}"
        )
    return decoded.isel(variant=names.index(variant), drop=True)

"""What the core hands to a component beside data and parameters: seed, device, progress, and what it may call."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from brainlens.errors import PluginError, RegistryError, closest

if TYPE_CHECKING:
    import numpy as np

    from brainlens.derivatives import Differentiated, Encoder

    Guide = Callable[[np.ndarray], np.ndarray]

Item = TypeVar("Item")
Kept = TypeVar("Kept")


@dataclass(frozen=True, kw_only=True)
class Context:
    """What the core hands to a component beside data and parameters.

    Parameters
    ----------
    seed
        Every random choice of the component derives from it.
    device
        Resolved name, `"cpu"` or `"cuda:0"`, never `"auto"`.
    precision
        `"float32"`, `"bfloat16"` or `"float16"`.
    quiet
        Whether progress is off.
    scratch
        Folder for intermediate files, the same one for the same recipe: what a killed process left there is found by
        the next. It is deleted once the result is stored. None where there is no place for it.
    components
        What `call` calls, by the name of the parameter that names it.
    kept
        What `keep` keeps; None where nothing is kept.
    derivatives, encoders
        What `differentiate` and `encoder` use, by the names of parameters and inputs.
    guide
        What a guided generator is pushed by, or None: takes estimates of the images that are being painted, (image, y,
        x, rgb), float32, from 0 to 1, some or all of a batch, and returns the gradient, of the same shape, of the
        logarithm of a probability that the images are to gain. It does not know which images these are.
    """

    seed: int = 0
    device: str = "cpu"
    precision: str = "float32"
    quiet: bool = True
    scratch: Path | None = None
    sources: list[Path] = field(default_factory=list, repr=False)
    components: Mapping[str, Callable[..., Any]] = field(default_factory=dict, repr=False)
    kept: dict[Hashable, Any] | None = field(default=None, repr=False)
    derivatives: Mapping[str, Callable[[np.ndarray], Differentiated]] = field(default_factory=dict, repr=False)
    encoders: Mapping[str, Callable[[], Encoder]] = field(default_factory=dict, repr=False)
    guide: Guide | None = field(default=None, repr=False)

    def keep(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """Return what `make` makes, once for all the times that an analysis calls this component.

        An analysis may call a generator a hundred times, which would load its networks as often. Kept are things of
        one component with one set of parameters, until the analysis is done. Nothing is kept where no analysis calls.

        Parameters
        ----------
        key
            Tells what the component keeps apart, such as `"network"`. What depends on inputs has to name them too.
        make
            Called without arguments, unless something is kept below this key.

        Examples
        --------
        >>> Context().keep("network", lambda: [1, 2])
        [1, 2]
        """
        if self.kept is None:
            return make()
        if key not in self.kept:
            self.kept[key] = make()
        found: Kept = self.kept[key]
        return found

    def call(self, key: str, *, guide: Guide | None = None, **inputs: Any) -> Any:
        """Carry out the component that a parameter names, and return the dataset that it makes.

        It gets the same seed, device and precision; nothing is stored.

        Parameters
        ----------
        key
            The parameter, one of the component's `calls`.
        guide
            What pushes a generator while it paints, see `guide` of the context; None for no push.
        **inputs
            The called component's inputs: datasets, not names.

        Raises
        ------
        PluginError
            If the parameter calls nothing, an input is unknown, missing or of another kind, or the component fails.
        ParameterError
            If there is a guide, and the component cannot be guided.
        """
        if key not in self.components:
            raise PluginError(f"context.call: nothing is called {key!r}. {closest(key, self.components)}")
        return self.components[key](**inputs, **({} if guide is None else {"guide": guide}))

    def differentiate(self, key: str, pixels: np.ndarray) -> Differentiated:
        """Return what the embedder that a parameter names makes of images, with the way back of a gradient.

        Parameters
        ----------
        key
            The parameter, one of the component's `calls`, which names an embedder of images.
        pixels
            (image, y, x, rgb), float32, from 0 to 1: 1 is what 255 is to the embedder otherwise.

        Returns
        -------
        Differentiated
            `value`: embeddings (embedding.v1) with a trial for each image. `pull_back` takes an array like them, and
            returns one like `pixels`.

        Raises
        ------
        PluginError
            If the parameter calls nothing, or the component fails or returns something else.
        ParameterError
            If the component has no derivative.
        """
        if key not in self.derivatives:
            raise PluginError(f"context.differentiate: nothing is called {key!r}. {closest(key, self.derivatives)}")
        return self.derivatives[key](pixels)

    def encoder(self, key: str) -> Encoder:
        """Return the encoder that an input holds, ready to predict.

        Parameters
        ----------
        key
            The input, a single one of kind model.

        Raises
        ------
        PluginError
            If there is no such input, or the component that fitted the model is gone or of another version.
        ParameterError, RegistryError
            If the model is no encoder that was fitted in this registry.
        DimensionError
            If it is of several subjects.
        """
        if key not in self.encoders:
            raise PluginError(f"context.encoder: no model is called {key!r}. {closest(key, self.encoders)}")
        return self.encoders[key]()

    def source(self, path: str | Path) -> Path:
        """Return the path of a file or folder that the component reads, noted for the provenance.

        Raises
        ------
        RegistryError
            If there is no such file or folder, naming the closest in its folder.
        """
        if not str(path):
            raise RegistryError("file '': expected the path of a file or folder, found ''. Give its path.")
        found = Path(path).expanduser()
        if not found.exists():
            folder = found.parent
            while not folder.is_dir() and folder != folder.parent:
                folder = folder.parent
            near = difflib.get_close_matches(found.name, [item.name for item in folder.iterdir()], n=1)
            where = repr(str(folder))
            hint = f"Closest in {where}: {near[0]!r}." if near else f"Nothing in {where} is named alike."
            raise RegistryError(f"file {str(path)!r}: expected a file or folder, found nothing there. {hint}")
        if found not in self.sources:
            self.sources.append(found)
        return found

    def rng(self, *keys: int) -> np.random.Generator:
        """Return a numpy generator for this seed; `keys` (such as a trial number) give independent streams."""
        import numpy as np

        # Keys beside the seed in one list would not do: numpy takes [1] and [1, 0] for the same.
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=keys))

    def progress(
        self,
        items: Iterable[Item],
        *,
        total: int | None = None,
        label: str = "",
        note: Callable[[], str] | None = None,
    ) -> Iterator[Item]:
        """Iterate with a progress bar on standard error, or with lines now and then where that is no terminal.

        Silent when `quiet` is set.

        Parameters
        ----------
        items, total
            What to iterate over, and how many there are, where `len` cannot say.
        label
            What is being done.
        note
            Called when the bar is drawn or a line is written; what it returns, such as the latest loss, stands at its
            end.
        """
        from tqdm.auto import tqdm

        from brainlens.progress import with_lines

        # `None` is a bar on a terminal and in a notebook.
        bar = tqdm(items, total=total, desc=label, disable=True if self.quiet else None, leave=False)
        if bar.disable and not self.quiet:
            yield from with_lines(items, total=total, label=label, note=note)
            return
        for item in bar:
            if note is not None and not bar.disable:
                bar.set_postfix_str(note(), refresh=False)
            yield item

    @property
    def log(self) -> logging.Logger:
        """The logger of the suite."""
        return logging.getLogger("brainlens")

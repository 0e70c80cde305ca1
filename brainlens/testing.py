"""What plugin authors test with: the contract suite, the same checks without pytest, and the synthetic study.

from brainlens.testing import PluginContract


class TestContract(PluginContract):
    plugin = "linear"
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import xarray as xr

from brainlens import contract, exercise, exercise_fitting
from brainlens.errors import BrainlensError, ParameterError, PluginError
from brainlens.exercise import Attempt, NotApplicable
from brainlens.plugins import Plugin, PluginHost
from brainlens.synthetic import synthetic_study as synthetic_study

__all__ = ["PluginContract", "check_plugin", "synthetic_study"]

_DECLARED: tuple[Callable[[PluginHost, Plugin], Iterator[str]], ...] = (
    contract.light_problems,
    contract.source_problems,
    contract.record_problems,
    contract.params_problems,
    contract.target_problems,
    contract.kind_problems,
)
FITTED = ("decoder", "encoder")
_TRIED: tuple[tuple[Callable[[Attempt], Iterator[str]], tuple[str, ...]], ...] = (
    (exercise_fitting.planted_map_problems, FITTED),
    (exercise_fitting.repeat_problems, FITTED),
    (exercise_fitting.single_trial_problems, FITTED),
    (exercise_fitting.storage_problems, FITTED),
    (exercise_fitting.leak_problems, FITTED),
    (exercise_fitting.subjects_problems, ("decoder",)),
    (exercise_fitting.spaces_problems, ("encoder",)),
    (exercise_fitting.start_problems, FITTED),
    (exercise_fitting.derivative_problems, ("encoder",)),
    (exercise.analysis_problems, ("analysis", "embedder", "generator")),
    (exercise.importer_problems, ("importer",)),
    (exercise.exporter_problems, ("exporter",)),
)


def check_plugin(name: str, folder: Path, *, host: PluginHost | None = None) -> list[str]:
    """Check a plugin against the contract; return one line for each problem, none if it keeps it.

    Parameters
    ----------
    name
        The plugin's name.
    folder
        Exists, and is empty or may be filled; registries are made there.
    host
        Where the plugin is known; the installed ones when left out.

    Examples
    --------
    >>> check_plugin("no-such-plugin", tmp_path)[0][:27]
    "no plugin 'no-such-plugin'."
    """
    host = host or PluginHost()
    try:
        plugin = host.plugin(name)
    except PluginError as error:
        return [str(error)]
    problems = [problem for check in _DECLARED for problem in check(host, plugin)]
    for number, (check, roles) in enumerate(_TRIED):
        for component in plugin.components:
            if component.role in roles:
                alone = exercise.only(host, plugin)
                attempt = Attempt(host=alone, component=component, folder=folder / f"{number}-{component.name}")
                try:
                    problems += _tried(check, attempt)
                except NotApplicable:
                    continue
    return problems


class PluginContract:
    """The contract as pytest tests: subclass it, name the plugin.

    Attributes
    ----------
    plugin
        The plugin's name, as in its entry point.
    params
        Parameters to try a component with, by its name, where the defaults are slow or there are none.
    inputs
        Datasets of the study to give an analysis, by component and input: `response`, `target`, `decoded` (embedding
        of test trials) or `ranking`. Guessed by name and kind when left out; an optional one is left out where others
        are named.
    """

    plugin: ClassVar[str] = ""
    params: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    inputs: ClassVar[Mapping[str, Mapping[str, str]]] = MappingProxyType({})

    def host(self) -> PluginHost:
        """Return the plugins to look in; the installed ones unless overridden."""
        return PluginHost()

    def study(self) -> dict[str, xr.Dataset]:
        """Return the study to try components on; the synthetic one unless overridden."""
        return synthetic_study()

    def test_plugin_loads(self) -> None:
        """The entry point is installed, and loading it raises nothing."""
        self._loaded()

    def test_loading_imports_no_heavy_library(self) -> None:
        """Listing and describing the plugin stays fast."""
        self._declared(contract.light_problems)

    def test_source_uses_only_the_public_interface(self) -> None:
        """Nothing is imported from inside brainlens or from another plugin."""
        self._declared(contract.source_problems)

    def test_components_are_described(self) -> None:
        """Names, summaries, citations and suffixes can be shown as they are."""
        self._declared(contract.record_problems)

    def test_parameters_are_described_and_survive_json(self) -> None:
        """The command line and the provenance can be made from the parameters."""
        self._declared(contract.params_problems)

    def test_targets_take_the_arguments_that_they_are_handed(self) -> None:
        """Everything that a component needs is installed, and its signature fits its role."""
        self._declared(contract.target_problems)

    def test_kinds_of_dataset_exist(self) -> None:
        """Inputs and outputs follow schemas that are known."""
        self._declared(contract.kind_problems)

    def test_what_is_fitted_finds_a_planted_map_and_nothing_in_shuffled_labels(self, tmp_path: Path) -> None:
        """Scores are far over chance where there is something to find, and at chance where there is not."""
        self._try(exercise_fitting.planted_map_problems, tmp_path)

    def test_what_is_fitted_repeats_itself(self, tmp_path: Path) -> None:
        """The same seed gives the same numbers."""
        self._try(exercise_fitting.repeat_problems, tmp_path)

    def test_what_is_fitted_predicts_each_trial_by_itself(self, tmp_path: Path) -> None:
        """Order and company of a trial or stimulus do not change its prediction."""
        self._try(exercise_fitting.single_trial_problems, tmp_path)

    def test_what_is_fitted_survives_storage_and_leaves_inputs_alone(self, tmp_path: Path) -> None:
        """A stored model predicts what the fitted one did."""
        self._try(exercise_fitting.storage_problems, tmp_path)

    def test_what_is_fitted_never_sees_test_trials(self, tmp_path: Path) -> None:
        """What was learnt does not depend on the trials that are predicted."""
        self._try(exercise_fitting.leak_problems, tmp_path)

    def test_decoders_of_several_subjects_find_each(self, tmp_path: Path) -> None:
        """A decoder that takes several responses is fitted to one and to two subjects, and predicts each."""
        self._try(exercise_fitting.subjects_problems, tmp_path)

    def test_encoders_of_several_feature_spaces_take_each(self, tmp_path: Path) -> None:
        """An encoder that takes several embeddings finds the planted map beside a space of noise, in either order."""
        self._try(exercise_fitting.spaces_problems, tmp_path)

    def test_what_is_fitted_starts_from_a_model(self, tmp_path: Path) -> None:
        """A component that can go on from a model does so, and finds as much."""
        self._try(exercise_fitting.start_problems, tmp_path)

    def test_the_gradient_of_an_encoder_is_that_of_finite_differences(self, tmp_path: Path) -> None:
        """An encoder that says that it can be differentiated says the truth."""
        self._try(exercise_fitting.derivative_problems, tmp_path)

    def test_analyses_repeat_themselves(self, tmp_path: Path) -> None:
        """The same inputs and seed give the same result, which follows its schema."""
        self._try(exercise.analysis_problems, tmp_path)

    def test_importers_refuse_what_does_not_exist(self, tmp_path: Path) -> None:
        """Unknown parameters and missing files are errors, and nothing is stored."""
        self._try(exercise.importer_problems, tmp_path)

    def test_exporters_write_whole_files_or_none(self, tmp_path: Path) -> None:
        """What cannot be exported is refused without a trace."""
        self._try(exercise.exporter_problems, tmp_path)

    def _loaded(self) -> tuple[PluginHost, Plugin]:
        if not self.plugin:
            raise ParameterError(
                f"{type(self).__name__}: expected the name of a plugin, as in plugin = 'linear', found ''."
            )
        host = self.host()
        return host, host.plugin(self.plugin)

    def _declared(self, check: Callable[[PluginHost, Plugin], Iterator[str]]) -> None:
        _raise(list(check(*self._loaded())))

    def _try(self, check: Callable[[Attempt], Iterator[str]], folder: Path) -> None:
        host, plugin = self._loaded()
        roles = dict(_TRIED)[check]
        components = [component for component in plugin.components if component.role in roles]
        reasons = [] if components else [f"plugin {plugin.name!r} has no {' or '.join(roles)}"]
        problems = []
        for component in components:
            attempt = Attempt(
                host=exercise.only(host, plugin),
                component=component,
                folder=folder / component.name,
                params=self.params.get(component.name, {}),
                inputs=self.inputs.get(component.name, {}),
                study=self.study(),
            )
            try:
                problems += _tried(check, attempt)
            except NotApplicable as reason:
                reasons.append(str(reason))
        _raise(problems)
        if reasons:
            _skip(" ".join(reasons))


def _tried(check: Callable[[Attempt], Iterator[str]], attempt: Attempt) -> list[str]:
    if attempt.component.role in FITTED:
        exercise_fitting.needs_other_kinds(attempt)
    try:
        return list(check(attempt))
    except BrainlensError as error:
        return [str(error)]


def _raise(problems: list[str]) -> None:
    if problems:
        raise AssertionError("\n".join(problems))


def _skip(reason: str) -> None:
    import pytest

    pytest.skip(reason)

"""The frozen records that plugins and core exchange: components, schemas, checkpoints, results.

No record does work; resolving, validating and computing are in other modules.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator

from brainlens.errors import PluginError, closest, listed
from brainlens.labels import ROLES

if TYPE_CHECKING:
    pass

Role = Literal["importer", "embedder", "decoder", "encoder", "generator", "analysis", "exporter"]
Item = TypeVar("Item")
Kept = TypeVar("Kept")

# Words that the verbs use themselves, so that no component may claim them for a parameter or an input.
_VERB_OPTIONS = frozenset(
    {"name", "seed", "device", "precision", "recompute", "component", "registry", "json", "help"}
    | {"self", "params", "context", "guide"}
)
_FIT_OPTIONS = frozenset(
    {"roi", "average", "standardize", "split", "start", "leave_out", "n_folds", "average_predicted", "also"}
)
_ROLE_OPTIONS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "decoder": _FIT_OPTIONS,
        "encoder": _FIT_OPTIONS,
        "exporter": frozenset({"dataset", "target", "exporter", "overwrite"}),
    }
)

# What an analysis may call: components without a state, of which a dataset comes out.
_CALLED = ("analysis", "embedder", "generator")

ROLE_INPUTS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "decoder": {"response": "response", "target": "embedding"},
        "encoder": {"features": "embedding", "response": "response"},
    }
)


class Params(BaseModel):
    """Base of a component's parameters: frozen, typed, unknown names refused.

    Each field needs a default and a `description` with its unit; the command line's options and the
    provenance record are generated from them.

    Attributes
    ----------
    without_effect
        Names of parameters that decide how the work is done and not what comes out, such as `n_workers`. They are in
        the provenance, but a result that was computed with other ones is the same result.
    """

    without_effect: ClassVar[frozenset[str]] = frozenset()

    # Infinite numbers are written as text: JSON has no word for them, and null would not come back as a number.
    @model_validator(mode="before")
    @classmethod
    def _take_paths(cls, given: Any) -> Any:
        """Take a path object wherever text is expected, as every function that reads files does."""
        return _with_text_paths(given)

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, ser_json_inf_nan="strings"
    )


@dataclass(frozen=True)
class Input:
    """One dataset that a component reads: its kind, and whether it may be left out or be several."""

    kind: str
    optional: bool = False
    many: bool = False


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Pre-trained weights that a component loads: identifier, digest of the file, size and licence."""

    id: str
    sha256: str
    size_bytes: int
    licence: str


@dataclass(frozen=True, kw_only=True)
class Component:
    """One named thing that a plugin provides, in one of seven roles.

    Parameters
    ----------
    name
        `<plugin>` or `<plugin>.<verb>`.
    role
        One of importer, embedder, decoder, encoder, generator, analysis, exporter.
    summary
        One line for listings.
    version
        Raised when the numbers it produces change.
    target
        `"module:attribute"`, imported only when the component is used.
    params
        Subclass of `Params` with a default and a description for every field.
    inputs
        Name of each input dataset to its kind (`"embedding"`) or an `Input`. Decoders have `response` and `target`,
        encoders `features` and `response`, whose kinds may be narrowed here. Both may name further embeddings of the
        same stimuli, which `fit` gets by name, row for row its trials. An optional input that is not given comes as
        None. A decoder or encoder of several subjects at once says `Input("response", many=True)`, an encoder
        of several feature spaces `Input("embedding", many=True)` of `features`.
    output
        Kinds of the datasets that come out.
    uses_device
        Whether `device` and `precision` matter to it.
    suffixes
        For exporters: the endings of the files that it writes, such as `".nii.gz"`.
    calls
        For analyses: which parameters name another component, and the role of that, such as
        `{"generator": "generator"}`. Its own parameters come as a dictionary in the field `generator_params`. The
        analysis calls it by `context.call("generator", ...)`, and what it is belongs to the recipe.
    derivative
        For embedders of images that can be differentiated: `"module:function"`, which takes `pixels`, `params` and
        `context` and returns a `Differentiated`; see `context.differentiate`.
    guided
        For generators: whether it follows `context.guide`.
    checkpoints, citations
        What its results rest on; copied into the provenance of every result.

    Raises
    ------
    PluginError
        If a field is empty or malformed, the role is unknown, or an option name is reserved.
    """

    name: str
    role: Role
    summary: str
    version: str
    target: str
    params: type[Params] = Params
    inputs: Mapping[str, Any] = field(default_factory=dict)
    output: tuple[str, ...] = ()
    uses_device: bool = False
    suffixes: tuple[str, ...] = ()
    calls: Mapping[str, str] = field(default_factory=dict)
    derivative: str = ""
    guided: bool = False
    checkpoints: tuple[Checkpoint, ...] = ()
    citations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for attribute in ("name", "role", "summary", "version", "target"):
            value = getattr(self, attribute)
            if not isinstance(value, str) or not value:
                raise PluginError(f"component {self.name!r}: {attribute} expected text, found {value!r}.")
        if self.role not in ROLES:
            raise PluginError(
                f"component {self.name!r}: role {self.role!r} does not exist. {closest(self.role, ROLES)}"
            )
        for attribute in ("target", *(("derivative",) if self.derivative else ())):
            value = getattr(self, attribute)
            if not isinstance(value, str) or value.count(":") != 1:
                raise PluginError(f"component {self.name!r}: {attribute} expected 'module:attribute', found {value!r}.")
        for attribute, role in (("derivative", "embedder"), ("guided", "generator")):
            if getattr(self, attribute) and self.role != role:
                raise PluginError(
                    f"component {self.name!r}: expected {attribute} of a component of role {role!r} only, found role "
                    f"{self.role!r}. Leave it out."
                )
        if not (isinstance(self.params, type) and issubclass(self.params, Params)):
            raise PluginError(
                f"component {self.name!r}: params expected a subclass of brainlens.Params, found {self.params!r}."
            )
        if unknown := sorted(set(self.params.without_effect) - set(self.params.model_fields)):
            raise PluginError(
                f"component {self.name!r}: expected parameters in without_effect, found {unknown[0]!r}. "
                f"{closest(unknown[0], self.params.model_fields)}"
            )
        own = ROLE_INPUTS.get(self.role, {})
        inputs = {**own, **self.inputs}
        frozen = {key: kind if isinstance(kind, Input) else Input(kind) for key, kind in inputs.items()}
        if self.role == "decoder":
            _follow_response(self.name, frozen)
        if self.role == "encoder":
            _follow_responses(self.name, frozen)
        object.__setattr__(self, "inputs", MappingProxyType(frozen))
        output: Any = self.output
        object.__setattr__(self, "output", (output,) if isinstance(output, str) else tuple(output))
        reserved = _VERB_OPTIONS | _ROLE_OPTIONS.get(self.role, frozenset())
        taken = sorted(reserved & {*self.params.model_fields, *self.inputs})
        if taken:
            raise PluginError(f"component {self.name!r}: {taken[0]!r} is reserved for the verbs. Rename that option.")
        both = sorted(set(self.params.model_fields) & set(self.inputs))
        if both:
            raise PluginError(f"component {self.name!r}: {both[0]!r} is both an input and a parameter. Rename one.")
        _refuse_other_calls(self)
        object.__setattr__(self, "calls", MappingProxyType(dict(self.calls)))

    @property
    def plugin(self) -> str:
        """Name of the plugin that provides it: the part before the first dot."""
        return self.name.split(".", 1)[0]


@dataclass(frozen=True, kw_only=True)
class Schema:
    """A new kind of dataset: `name` such as `mesh.v1`, and its JSON Schema document."""

    name: str
    document: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The name without its version."""
        return self.name.rsplit(".", 1)[0]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a listing: what the index knows of a stored dataset or model."""

    name: str
    kind: str
    schema: str
    subject: str
    component: str
    plugin: str
    created: str
    digest: str
    size_bytes: int
    dims: Mapping[str, int]
    recipe: str = ""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What `brainlens_computed` is told: the entry of a result that was stored, and where it lies."""

    entry: Entry
    registry: str
    provenance: Mapping[str, Any]


def call_params(key: str) -> str:
    """Return which parameter holds the parameters of the component that another one names.

    Examples
    --------
    >>> call_params("generator")
    'generator_params'
    """
    return f"{key}_params"


def _refuse_other_calls(component: Component) -> None:
    fields = component.params.model_fields
    for key, role in component.calls.items():
        if component.role != "analysis" or role not in _CALLED:
            raise PluginError(
                f"component {component.name!r}: expected an analysis that calls one of {listed(_CALLED)}, found one of "
                f"role {component.role!r} that calls {role!r}. Take what it makes as an input."
            )
        for name, wanted in ((key, "text"), (call_params(key), "a dictionary")):
            default = fields[name].get_default(call_default_factory=True) if name in fields else None
            if not isinstance(default, str if name == key else dict):
                raise PluginError(
                    f"component {component.name!r}: expected a parameter {name!r} whose default is {wanted}, since it "
                    f"calls {key!r}, found {'none' if name not in fields else repr(default)}."
                )


def _follow_response(name: str, inputs: dict[str, Input]) -> None:
    """Let the embeddings of a decoder be several where its responses are; refuse inputs of other kinds."""
    if inputs["target"].many and not inputs["response"].many:
        raise PluginError(
            f"component {name!r}: expected several targets only with several responses, found Input(many=True) for "
            "'target' alone. Say it of 'response'; 'target' follows."
        )
    for key in inputs.keys() - {"response", "target"}:
        if inputs[key].kind != "embedding":
            raise PluginError(
                f"component {name!r}: expected the inputs 'response' and 'target', and further embeddings, found "
                f"{key!r} of kind {inputs[key].kind!r}. Make it a parameter, or the component an analysis."
            )
    for key in inputs.keys() - {"response"}:
        inputs[key] = replace(inputs[key], many=inputs["response"].many)


def _follow_responses(name: str, inputs: dict[str, Input]) -> None:
    """Let the embeddings of an encoder be several where its responses are; refuse inputs of other kinds."""
    for key in inputs.keys() - {"features", "response"}:
        if inputs[key].kind != "embedding" or (inputs[key].many and not inputs["response"].many):
            several = "several of " if inputs[key].many else ""
            raise PluginError(
                f"component {name!r}: expected the inputs 'features' and 'response', and further embeddings, one of "
                f"each, found {several}{key!r} of kind {inputs[key].kind!r}. Make it a parameter, or 'features' "
                "several: Input('embedding', many=True)."
            )
    # One feature space, in one dataset for all subjects or one for each.
    if inputs["response"].many:
        for key in inputs:
            inputs[key] = replace(inputs[key], many=True)


def _with_text_paths(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, dict):
        return {key: _with_text_paths(item) for key, item in value.items()}
    return type(value)(map(_with_text_paths, value)) if type(value) in (list, tuple) else value

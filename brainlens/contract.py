"""What a plugin promises by its records and its source, checked without computing anything.

Every check yields one line for each problem, so that all are seen at once. What components do is tried in
`brainlens.exercise`.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jsonschema
import pydantic
import pydantic_core

import brainlens
from brainlens.errors import PluginError, SchemaError, listed
from brainlens.plugins import GROUP, Plugin, PluginHost
from brainlens.records import Component
from brainlens.schema import builtin_schemas, find_schema
from brainlens.trainable import Trainable

HEAVY = (
    "diffusers", "jax", "matplotlib", "nilearn", "open_clip", "sklearn", "tensorflow", "torch", "torchvision",
    "transformers",
)  # fmt: skip

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*(\.[a-z][a-z0-9]*([-_][a-z0-9]+)*)?")

_LOAD = """
import importlib.metadata, json, sys
from brainlens.plugins import PluginHost
name, value, group, *heavy = sys.argv[1:]
PluginHost([importlib.metadata.EntryPoint(name, value, group)]).plugin(name)
print(json.dumps(sorted(set(heavy) & set(sys.modules))))
"""


def light_problems(host: PluginHost, plugin: Plugin) -> Iterator[str]:
    """Load the plugin in a fresh process, and say which heavy libraries came with it."""
    path = os.pathsep.join(item or os.getcwd() for item in sys.path)
    command = [sys.executable, "-c", _LOAD, plugin.name, plugin.module, GROUP, *HEAVY]
    process = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False, timeout=300
    )
    if process.returncode:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        yield f"plugin {plugin.name!r}: expected it to load in a fresh process, found: {last}"
        return
    heavy = json.loads(process.stdout.strip().splitlines()[-1])
    if heavy:
        yield (
            f"plugin {plugin.name!r}: loading it imports {listed(heavy)}, which slows every command down. "
            f"Import {'it' if len(heavy) == 1 else 'them'} in the module that does the work."
        )


def source_problems(host: PluginHost, plugin: Plugin) -> Iterator[str]:
    """Read the plugin's source, and say where it reaches for more than `brainlens` offers to plugins."""
    targets = {component.target.split(":")[0].split(".")[0] for component in plugin.components}
    own = {_package_of(plugin.module), *(target for target in targets if target.startswith("brainlens_"))}
    others = {_package_of(other.module): other.name for other in host.plugins() if other.name != plugin.name}
    for package in sorted(own):
        for file in _source_files(package):
            for node, what in _foreign_names(ast.parse(file.read_text("utf-8"), str(file)), own, set(others)):
                yield f"{file.parent.name}/{file.name}, line {node.lineno}: {what}"


def record_problems(host: PluginHost, plugin: Plugin) -> Iterator[str]:
    """Check names, texts and suffixes of the component records."""
    module = importlib.import_module(_module_of(plugin.module))
    if not plugin.components and not plugin.schemas and not hasattr(module, "brainlens_computed"):
        yield f"plugin {plugin.name!r}: expected a component, found none. Return one from brainlens_components."
    for component in plugin.components:
        where = f"component {component.name!r}"
        if not _NAME.fullmatch(component.name):
            yield f"{where}: expected lower-case words, such as 'my-plugin.rank'. Rename it."
        if component.summary != component.summary.strip() or "\n" in component.summary or len(component.summary) > 160:
            yield f"{where}: expected a summary of one line, at most 160 characters, found {component.summary!r}."
        for citation in component.citations:
            if not isinstance(citation, str) or not citation.strip():
                yield f"{where}: expected citations to be text, found {citation!r}."
        for suffix in component.suffixes:
            if not re.fullmatch(r"(\.[A-Za-z0-9_-]+)+", suffix):
                yield f"{where}: expected suffixes such as '.nii.gz', found {suffix!r}."
        for checkpoint in component.checkpoints:
            if not re.fullmatch(r"[0-9a-f]{64}", checkpoint.sha256):
                yield f"{where}: expected 64 hexadecimal digits for {checkpoint.id!r}, found {checkpoint.sha256!r}."


def params_problems(host: PluginHost, plugin: Plugin) -> Iterator[str]:
    """Check that every parameter is described, and that defaults survive JSON, which provenance keeps them in."""
    for component in plugin.components:
        fields = component.params.model_fields
        for name, field in fields.items():
            if not (field.description or "").strip():
                text = "Say what it is, with its unit: Field(description=...)"
                yield f"component {component.name!r}, parameter {name!r}: expected a description, found none. {text}."
        try:
            component.params.model_json_schema()
            if any(field.is_required() for field in fields.values()):
                continue
            defaults = component.params()
            again = component.params.model_validate_json(defaults.model_dump_json())
        except (
            pydantic.ValidationError,
            pydantic.PydanticUserError,
            pydantic_core.PydanticSerializationError,
        ) as error:
            found = " ".join(str(error).split())
            yield f"component {component.name!r}: expected parameters that can be written as JSON, found: {found}"
            continue
        if again != defaults:
            found = f"found {again!r}, not {defaults!r}"
            yield f"component {component.name!r}: expected the defaults back from JSON, {found}."


def target_problems(host: PluginHost, plugin: Plugin) -> Iterator[str]:
    """Import every target, and check that it takes the arguments that the core hands it."""
    for component in plugin.components:
        try:
            target = host.resolve(component)
        except PluginError as error:
            yield str(error)
            continue
        if component.role in ("decoder", "encoder"):
            if not (isinstance(target, type) and issubclass(target, Trainable)):
                expected = f"{component.target!r} to be a subclass of brainlens.Trainable"
                yield f"component {component.name!r}: expected {expected}, found {target!r}."
            elif inspect.isabstract(target):
                missing = listed(sorted(target.__abstractmethods__))
                yield f"component {component.name!r}: expected fit and predict, found no {missing}. Write it."
        elif not callable(target):
            yield f"component {component.name!r}: expected {component.target!r} to be a function, found {target!r}."
        else:
            yield from _argument_problems(component, inspect.signature(target))
        if component.derivative:
            yield from _derivative_problems(host, component)


def kind_problems(host: PluginHost, plugin: Plugin) -> Iterator[str]:
    """Check that the kinds of dataset that components name exist, and that new schemas are JSON Schema."""
    known = {**builtin_schemas(), **host.schemas()}
    for component in plugin.components:
        kinds = [*((f"input {key!r}", item.kind) for key, item in component.inputs.items())]
        for what, kind in [*kinds, *(("output", kind) for kind in component.output)]:
            try:
                find_schema(kind, known)
            except SchemaError as error:
                yield f"component {component.name!r}, {what}: {error}"
    for schema in plugin.schemas:
        try:
            jsonschema.Draft202012Validator.check_schema(dict(schema.document))
        except jsonschema.SchemaError as error:
            yield f"schema {schema.name!r}: expected a JSON Schema document: {error.message}."


def _derivative_problems(host: PluginHost, component: Component) -> Iterator[str]:
    try:
        function = host.resolve(replace(component, target=component.derivative))
        inspect.signature(function).bind(pixels=None, params=None, context=None)
    except PluginError as error:
        yield str(error)
    except TypeError as error:
        where = f"component {component.name!r}: expected {component.derivative!r}"
        yield f"{where} to take (pixels, params, context): {error}."


def _argument_problems(component: Component, signature: inspect.Signature) -> Iterator[str]:
    by_name = {"params": None, "context": None}
    if component.role in ("analysis", "embedder", "generator"):
        by_name |= dict.fromkeys(component.inputs)
    by_position = (None, None) if component.role == "exporter" else ()
    try:
        signature.bind(*by_position, **by_name)
    except TypeError as error:
        expected = ", ".join(["dataset", "target", *by_name] if by_position else by_name)
        where = f"component {component.name!r}: expected {component.target!r}"
        yield f"{where} to take ({expected}), found {signature}: {error}."


def _foreign_names(tree: ast.AST, own: set[str], others: set[str]) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [(node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "brainlens":
            names = [("brainlens", node.attr)] if node.attr != "testing" else []
        else:
            continue
        for module, name in names:
            what = _why_foreign(module, name, own, others)
            if what:
                yield node, what


def _why_foreign(module: str, name: str, own: set[str], others: set[str]) -> str:
    package = module.split(".")[0]
    if package in own:
        return ""
    if package in others or package.startswith("brainlens_"):
        return f"imports {module!r}, which is another plugin's. Exchange datasets instead."
    if module == "brainlens" and name not in ("", "testing", *brainlens.__all__):
        return f"uses 'brainlens.{name}', which is not public. Public: brainlens.__all__."
    if module.startswith("brainlens.") and module != "brainlens.testing":
        return (
            f"imports {module!r}, which is not public. Write 'import brainlens' and use the names in brainlens.__all__."
        )
    return ""


def _source_files(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    if spec is None:
        return []
    if spec.submodule_search_locations is None:
        return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []
    return sorted(file for folder in spec.submodule_search_locations for file in Path(folder).rglob("*.py"))


def _module_of(value: str) -> str:
    return importlib.metadata.EntryPoint("", value, GROUP).module


def _package_of(value: str) -> str:
    return _module_of(value).split(".")[0]

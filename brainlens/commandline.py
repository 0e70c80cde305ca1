"""What all commands share: errors as one message, the registry's path, the plugins, listing without numpy."""

from __future__ import annotations

import logging
import os
import typing
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from brainlens.errors import BrainlensError, ParameterError, RegistryError, closest
from brainlens.index import PRIVATE, Index
from brainlens.printing import say

if TYPE_CHECKING:
    from brainlens.plugins import PluginHost
    from brainlens.registry import Registry

DEFAULT_REGISTRY = "study.zarr"


class Command(click.Command):
    """A command that turns brainlens's errors into one message and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ParameterError as error:
            say(f"Error: {error}")
            ctx.exit(2)
        except BrainlensError as error:
            say(f"Error: {error}")
            ctx.exit(1)


class Group(click.Group):
    """A group whose commands are such, and that suggests the closest for one that it does not know."""

    command_class = Command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which comes closest."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(
                f"no command {args[0]!r}. {closest(args[0], self.list_commands(ctx), what='commands')}", ctx
            ) from error


def registry_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command take the registry's path, as the group does."""

    def keep(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.find_root().meta["registry"] = value

    option = click.option(
        "-r",
        "--registry",
        metavar="PATH",
        expose_value=False,
        callback=keep,
        help=f"Folder or URL. [env: BRAINLENS_REGISTRY; default: {DEFAULT_REGISTRY}]",
    )
    return option(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command print JSON."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON.")(command)


def show_log(ctx: click.Context) -> None:
    """Show what components log about their work on standard error, until the command is done."""
    logger, handler = logging.getLogger("brainlens"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    level = logger.level

    def forget() -> None:
        logger.removeHandler(handler)
        logger.setLevel(level)

    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    ctx.call_on_close(forget)


def plugin_host() -> PluginHost:
    """Return the plugins, found once for each invocation."""
    from brainlens.plugins import PluginHost

    context = click.get_current_context()
    host: PluginHost = context.find_root().meta.setdefault("host", None) or PluginHost()
    context.find_root().meta["host"] = host
    return host


def registry_path(ctx: click.Context) -> str:
    """Return the path that was given, by option or environment, or the default."""
    return str(ctx.find_root().meta.get("registry") or os.environ.get("BRAINLENS_REGISTRY") or DEFAULT_REGISTRY)


def open_registry(ctx: click.Context, *, mode: typing.Literal["a", "r"] = "a") -> Registry:
    """Open the registry that the command is about."""
    from brainlens import registry

    return registry.open(
        registry_path(ctx), mode=mode, host=plugin_host(), quiet=ctx.find_root().meta.get("quiet", False)
    )


def local_index(path: str) -> Index:
    """Return the index of a registry in a folder.

    Raises
    ------
    RegistryError
        If there is nothing, or the registry is not in a folder.
    """
    if _is_remote(path):
        raise RegistryError(f"registry {path!r}: expected a folder, found a URL, which has no index.")
    root = Path(path.removeprefix("file://")).expanduser()
    if not root.exists():
        raise RegistryError(
            f"registry {path!r}: expected a registry, found nothing. Give its path with --registry or "
            "BRAINLENS_REGISTRY."
        )
    return Index(root)


def _is_remote(path: str) -> bool:
    return "://" in path and not path.startswith("file://")


def light_rows(path: str) -> list[tuple[Any, ...]]:
    """Return the rows of a listing without importing anything numeric."""
    index = None if _is_remote(path) else local_index(path)
    if index is None or not (index.root / PRIVATE).is_dir():
        from brainlens import registry

        return [
            (item.name, item.kind, item.subject, item.size_bytes, item.created)
            for item in registry.open(path, mode="r").query()
        ]
    rows = index.rows()
    for problem in index.broken.values():
        say(f"Warning: {problem}")
    return rows

"""The layers of `docs/design.md`, walked in the source: who may import whom, deferred imports included."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = ROOT / "brainlens"
# The one module that may import torch, and late.
TORCH_IN = "device"
MOST_LINES = 450


def read_layers() -> dict[str, list[str]]:
    """Return the modules of each layer, lowest first, from the table in the design notes."""
    text = (ROOT / "docs" / "design.md").read_text("utf-8")
    rows = re.findall(r"^\| (\w+) \| ((?:`\w+` ?)+)\|$", text, flags=re.MULTILINE)
    return {layer: re.findall(r"`(\w+)`", modules) for layer, modules in rows}


@functools.cache
def sources() -> dict[str, str]:
    return {path.stem: path.read_text("utf-8") for path in sorted(CORE.glob("*.py"))}


def imports(source: str) -> Iterator[tuple[str, bool]]:
    """Yield every imported module, with the name where that may be a module too, and whether it is at the top."""
    tree = ast.parse(source)
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from ((f"{node.module}.{alias.name}", id(node) in top) for alias in node.names)


def own(source: str, modules: Mapping[str, object]) -> set[str]:
    """Return the modules of brainlens that a source imports; `brainlens` for the package itself."""
    found = set()
    for name, _ in imports(source):
        first, _, rest = name.partition(".")
        if first == "brainlens":
            second = rest.partition(".")[0]
            found.add(second if second in modules else "brainlens")
    return found


def violations(files: Mapping[str, str], layers: Mapping[str, list[str]]) -> list[str]:
    """List every import that the layers forbid."""
    rank = {module: number for number, modules in enumerate(layers.values()) for module in modules}
    problems = []
    for module, source in files.items():
        for name, at_top in imports(source):
            first = name.partition(".")[0]
            if first == "torch" and (module != TORCH_IN or at_top):
                problems.append(f"{module} imports {name}")
            if first.startswith("brainlens_") and first != "brainlens_schemas":
                problems.append(f"{module} imports the plugin {first}")
        for other in own(source, files) - {"brainlens"}:
            if rank[other] > rank[module]:
                problems.append(f"{module} imports {other} from a higher layer")
    return [*problems, *cycles({module: own(source, files) & files.keys() for module, source in files.items()})]


def cycles(needs: Mapping[str, set[str]]) -> list[str]:
    """List what is left of a graph when everything that needs nothing more is taken away again and again."""
    waiting = {module: set(others) for module, others in needs.items()}
    while free := {module for module, others in waiting.items() if not others}:
        waiting = {module: others - free for module, others in waiting.items() if module not in free}
    return [f"{module} and {', '.join(sorted(others))} import each other" for module, others in waiting.items()]


def modules_only() -> dict[str, str]:
    """Return the sources of all modules but the package's own, which only looks names up."""
    return {module: source for module, source in sources().items() if module != "__init__"}


def test_every_module_is_in_one_layer() -> None:
    listed = [module for modules in read_layers().values() for module in modules]
    assert sorted(listed) == sorted(modules_only())
    assert list(read_layers()) == ["words", "shapes", "resources", "discovery", "action", "front", "edges"]


def test_modules_import_from_their_own_layer_or_lower_ones_and_never_in_a_circle() -> None:
    assert violations(modules_only(), read_layers()) == []


@pytest.mark.parametrize(
    ("module", "line", "expected"),
    [
        ("errors", "from brainlens.registry import open", "errors imports registry from a higher layer"),
        ("labels", "def late():\n    from brainlens import store", "labels imports store from a higher layer"),
        ("store", "if True:\n    import brainlens.compute", "store imports compute from a higher layer"),
        ("manifest", "from brainlens.index import Index", "manifest and index import each other"),
        ("compute", "import torch.nn", "compute imports torch.nn"),
        ("scoring", "def late():\n    from torch import nn", "scoring imports torch.nn"),
        ("device", "import torch", "device imports torch"),
        ("registry", "from brainlens_linear.ridge import RidgeDecoder", "registry imports the plugin brainlens_linear"),
        ("demo", "def late():\n    import brainlens_retrieval", "demo imports the plugin brainlens_retrieval"),
    ],
)
def test_a_planted_violation_is_caught(module: str, line: str, expected: str) -> None:
    files = modules_only()
    files[module] += f"\n{line}\n"
    assert any(problem.startswith(expected) for problem in violations(files, read_layers()))


def test_the_package_itself_is_imported_for_its_version_only() -> None:
    # `contract` hands the package to examples as plugins see it; nothing else goes through the front door.
    for module, source in modules_only().items():
        names = {name for name, _ in imports(source) if own_root(name, source)}
        allowed = {"brainlens"} if module == "contract" else {"brainlens.__version__"}
        assert names <= allowed, f"{module}: {names}"


def own_root(name: str, source: str) -> bool:
    first, _, rest = name.partition(".")
    return first == "brainlens" and rest.partition(".")[0] not in modules_only()


@pytest.mark.parametrize("path", sorted((ROOT / "plugins").glob("*/brainlens_*/*.py")), ids=lambda path: str(path.name))
def test_plugins_import_the_front_door_and_themselves_only(path: Path) -> None:
    package = path.parent.name
    for name, _ in imports(path.read_text("utf-8")):
        first, _, rest = name.partition(".")
        assert not first.startswith("brainlens_") or first == package, f"{path.name} imports {name}"
        assert first != "brainlens" or rest in ("", "testing"), f"{path.name} imports {name}"


def is_public(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")


def public_nodes(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Yield public functions and classes, and the public methods of the latter."""
    for node in tree.body:
        if is_public(node):
            yield node  # type: ignore[misc]
            if isinstance(node, ast.ClassDef):
                yield from (inner for inner in node.body if is_public(inner))  # type: ignore[misc]


def all_functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("module", sources())
def test_everything_public_says_what_it_is(module: str) -> None:
    tree = ast.parse(sources()[module])
    # A protocol's methods are explained where they are implemented.
    stubs = {
        id(inner) for node in tree.body if isinstance(node, ast.ClassDef) and is_protocol(node) for inner in node.body
    }
    bare = [node.name for node in public_nodes(tree) if not ast.get_docstring(node) and id(node) not in stubs]
    assert ast.get_docstring(tree)
    assert bare == []


def is_protocol(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)


@pytest.mark.parametrize("module", sources())
def test_every_argument_and_result_has_a_type(module: str) -> None:
    for function in all_functions(ast.parse(sources()[module])):
        given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        given += [argument for argument in (function.args.vararg, function.args.kwarg) if argument]
        untyped = [
            argument.arg for argument in given if argument.annotation is None and argument.arg not in ("self", "cls")
        ]
        assert untyped == [], f"{function.name}, line {function.lineno}"
        assert function.returns is not None, f"{function.name}, line {function.lineno}"


@pytest.mark.parametrize("module", sources())
def test_files_stay_short(module: str) -> None:
    assert sources()[module].count("\n") <= MOST_LINES

"""Laws of the packages: in which order they stand, and what may not be imported or called."""

import ast
import functools
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "charlm"

# Each may import from those before it, and from itself.
ORDER = (
    ("errors", "memory", "metrics", "threads"),
    ("config", "display", "fields"),
    ("network_config",),
    ("tokenizers", "counts"),
    ("text", "equations"),
    ("nn",),
    ("engines",),
    ("inference",),
    ("checkpoints",),
    ("novelty",),
    ("models",),
    ("bulk", "inspection", "training"),
    ("exchange", "serving"),
    ("cli",),
    ("__main__",),
)
FLOOR = {name: floor for floor, names in enumerate(ORDER) for name in names}
LIGHT = (
    "errors",
    "memory",
    "metrics",
    "threads",
    "config",
    "network_config",
    "display",
    "fields",
    "tokenizers",
    "counts",
    "text",
    "equations",
    "inference",
)
# where nothing needs torch at once
LIGHT = (*LIGHT, "checkpoints", "novelty", "models", "bulk", "exchange", "serving", "cli")
MOST_FILES = 16  # of a package


def name_of(path: Path) -> str:
    """charlm/cli/app.py is charlm.cli.app."""
    parts = ("charlm", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def package_of(name: str) -> str:
    """The package of a module, or itself where it stands in none; "" is charlm."""
    return name.partition(".")[2].partition(".")[0]


def imports_of(tree: ast.Module, *, lazy: bool) -> Iterator[str]:
    """The modules that a module imports; ``lazy``: in its functions, too. Types do not count."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.FunctionDef) and not lazy:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else str(node.module)
        waiting += ast.iter_child_nodes(node)


@functools.cache
def imports(*, lazy: bool) -> dict[str, set[str]]:
    """What each module imports."""
    trees = {name: ast.parse(path.read_bytes()) for name, path in MODULES.items()}
    return {name: set(imports_of(tree, lazy=lazy)) for name, tree in trees.items()}


def test_packages_stand_in_order() -> None:
    """No module imports from a package that stands above its own, not in a function either."""
    assert {package_of(name) for name in MODULES} - {""} == FLOOR.keys()
    wrong = [
        (name, found)
        for name, there in imports(lazy=True).items()
        for found in there & MODULES.keys()
        if package_of(name) and package_of(found)
        if package_of(name) != package_of(found)
        and FLOOR[package_of(found)] >= FLOOR[package_of(name)]
    ]
    assert not wrong


def test_imports_form_no_circle() -> None:
    """What a module imports never leads back to it, not by an import in a function either."""
    own = {name: found & MODULES.keys() for name, found in imports(lazy=True).items()}
    own["charlm"] = set()  # what it offers is imported when it is asked for
    graphlib.TopologicalSorter(own).prepare()  # raises CycleError, which names the modules


def test_no_package_holds_too_much() -> None:
    """A folder can be seen at a glance."""
    for folder in (PACKAGE, *(path.parent for path in PACKAGE.rglob("__init__.py"))):
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= MOST_FILES, folder


def nodes(name: str) -> Iterator[ast.AST]:
    """All of a module's syntax tree."""
    return ast.walk(ast.parse(MODULES[name].read_bytes()))


def test_the_command_line_alone_prints() -> None:
    """No other package prints, exits or knows of typer."""
    for name, found in imports(lazy=True).items():
        if package_of(name) not in ("cli", "__main__"):
            assert not [one for one in found if one.startswith(("typer", "rich"))], name
            calls = {ast.unparse(n.func) for n in nodes(name) if isinstance(n, ast.Call)}
            assert not calls & {"print", "exit", "sys.exit", "sys.stdout.write"}, name


def test_the_command_line_alone_knows_options() -> None:
    """Elsewhere messages name fields, `hidden_size`; how an option is written is not known."""
    for name in MODULES:
        if package_of(name) not in ("cli", "__main__", "display"):  # which holds CSS
            texts = [n.value for n in nodes(name) if isinstance(n, ast.Constant)]
            found = [one for one in texts if isinstance(one, str) and re.search(r"--[a-z]{2}", one)]
            assert not found, name


def needs_torch(name: str) -> bool:
    """Whether importing a module imports torch."""
    seen, waiting = {name}, [name]
    while waiting:
        found = imports(lazy=False).get(waiting.pop(), set())
        if any(one.split(".")[0] == "torch" for one in found):
            return True
        waiting += found - seen
        seen |= found
    return False


def test_light_packages_need_no_torch() -> None:
    """Small jobs are done before torch could be imported."""
    light = [name for name in MODULES if package_of(name) in LIGHT]
    assert len(light) > 90
    assert not [name for name in light if needs_torch(name)]
    assert needs_torch("charlm.training.loop")


def test_tests_stand_where_their_modules_do() -> None:
    """Their folders are named as the packages are; no test imports another, or a helper but by
    its full name.
    """
    folders = {path.name for path in TESTS.iterdir() if any(path.glob("test_*.py"))}
    assert folders - {"reliability"} <= {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert len(folders) > 9
    helpers = {path.stem for path in (TESTS / "support").glob("*.py")}
    for path in TESTS.rglob("*.py"):
        for name in imports_of(ast.parse(path.read_bytes()), lazy=True):
            assert name.split(".")[0] not in helpers, path
            assert name.split(".")[0] != "tests" or name.startswith("tests.support"), path

"""Laws of the rooms: which way the arrows point, and that the drawing of them is complete."""

import ast
import functools
import graphlib
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "charlm"
_, DRAWING, TABLE = (
    (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")
)


def name_of(path: Path) -> str:
    """charlm/cli/commands/next.py is charlm.cli.commands.next."""
    parts = ("charlm", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


ROOMS = {name_of(path): path for path in PACKAGE.rglob("*.py")}


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
                yield full if full in ROOMS else str(node.module)
        waiting += ast.iter_child_nodes(node)


@functools.cache
def arrows(*, lazy: bool) -> dict[str, set[str]]:
    """What each room imports."""
    trees = {name: ast.parse(path.read_bytes()) for name, path in ROOMS.items()}
    return {name: set(imports_of(tree, lazy=lazy)) for name, tree in trees.items()}


def test_arrows_form_no_circle() -> None:
    """What a room imports never leads back to it, not by an import in a function either."""
    own = {name: found & ROOMS.keys() for name, found in arrows(lazy=True).items()}
    graphlib.TopologicalSorter(own).prepare()  # raises CycleError, which names the rooms


def nodes(name: str) -> Iterator[ast.AST]:
    """All of a room's syntax tree."""
    return ast.walk(ast.parse(ROOMS[name].read_bytes()))


def test_nothing_imports_the_command_line() -> None:
    """But the command itself; and no other room prints or knows of typer."""
    for name, found in arrows(lazy=True).items():
        if not name.startswith("charlm.cli") and name != "charlm.__main__":
            assert not [one for one in found if one.startswith(("charlm.cli", "typer", "rich"))]
            calls = {ast.unparse(n.func) for n in nodes(name) if isinstance(n, ast.Call)}
            assert not calls & {"print", "exit", "sys.exit", "sys.stdout.write"}, name


def needs_torch(name: str) -> bool:
    """Whether importing a module imports torch."""
    seen, waiting = {name}, [name]
    while waiting:
        found = arrows(lazy=False).get(waiting.pop(), set())
        if any(one.split(".")[0] == "torch" for one in found):
            return True
        waiting += found - seen
        seen |= found
    return False


def test_below_the_line_nothing_imports_torch() -> None:
    """Neither a room that is drawn there nor what it imports; nor the API, nor a tokenizer."""
    below = re.split(r"= = .*\n", DRAWING)[1]
    light = {f"charlm.{stem}" for stem in re.findall(r"(\w+)\.py", below)}
    light |= {name for name in ROOMS if name.startswith("charlm.tokenizers")}
    assert len(light) > 30
    assert light <= ROOMS.keys()
    assert not [
        name for name in light | {"charlm.models.language_model", "charlm.cli"} if needs_torch(name)
    ]
    assert needs_torch("charlm.training.causal")


def test_every_room_is_drawn() -> None:
    """What commands share stands in the drawing, any other room in the table; and all is there."""
    files = {path.name for path in PACKAGE.glob("[a-z]*.py")}
    assert set(re.findall(r"`(\w+\.py)`", TABLE.split("\n\n")[1])) == files
    commands = {path.stem for path in (PACKAGE / "cli").glob("[a-z]*.py")}
    assert not commands - set(re.findall(r"\w+", DRAWING))

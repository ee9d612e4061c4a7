"""tests/client/preparation: a step's name covers all the code that makes it, also what is added one day."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from client.preparation import steps
from client.preparation.steps import code_files

ROOT = Path(steps.__file__).resolve().parents[2]
FOLLOWED = ("client/images", "client/imaging", "client/preparation", "client/radiomics")
NAMES_ONLY = ROOT / "common" / "study" / "fingerprint.py"
"""Makes the names of steps themselves: where it changes, every name does."""


def imported(module: Path) -> Iterator[Path]:
    """The project's modules that a module imports when it runs, wherever in it."""
    tree = ast.parse(module.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body.clear()
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
        elif isinstance(node, ast.Import):
            names += [name.name for name in node.names]
    yield from (path for name in names if (path := ROOT / f"{name.replace('.', '/')}.py").is_file())


def test_the_digest_of_steps_covers_every_module_that_they_import() -> None:
    seen: set[Path] = set()
    left = {ROOT / "client" / "preparation" / "chain.py"}
    while left:
        module = left.pop()
        seen.add(module)
        near = {path for path in imported(module) if path.relative_to(ROOT).as_posix().startswith(FOLLOWED)}
        left |= near - seen
    shared = {path for module in seen for path in imported(module) if path.parent == ROOT / "common" / "study"}
    assert {"acquisition.py", "preparation.py"} <= {path.name for path in shared} and len(seen) > 40
    assert seen | shared - {NAMES_ONLY} <= set(code_files("features"))


def test_a_step_without_features_is_not_redone_for_their_code() -> None:
    radiomics = {path for path in code_files("features") if path.parent.name == "radiomics"}
    assert radiomics and not radiomics & set(code_files("register"))
    # The working grid is as large as filters need it.
    assert radiomics <= set(code_files("regions"))

"""The rooms: who may import whom, what a site's process may load, and how large a file may grow."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("common", "client", "server", "simulation")


def imports(path: Path) -> set[str]:
    """Full names of everything that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", sorted((ROOT / "common").rglob("*.py")), ids=str)
def test_common_uses_flowers_records_but_neither_its_server_nor_its_client(path: Path) -> None:
    flower = {name for name in imports(path) if name.split(".")[0] == "flwr"}
    # What both daemons share of Flower's runtime has one home.
    runtime = {"flwr.supercore", "flwr.proto", "flwr.common.constant"} if path.parent.name == "flower" else set()
    allowed = {"flwr.app", *runtime}
    assert all(any(name == one or name.startswith(f"{one}.") for one in allowed) for name in flower)


def test_a_site_answers_statistics_without_heavy_libraries() -> None:
    """A client process lives for one message: what it loads is paid at every one."""
    code = "import json, sys, client.app; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(json.loads(done.stdout))
    heavy = {"torch", "monai", "SimpleITK", "radiomics", "pandas", "matplotlib", "scipy", "sklearn", "pyarrow", "ray"}
    assert loaded & heavy == set()


@pytest.mark.parametrize("room", ["client", "server"])
def test_help_is_printed_without_what_any_command_needs(room: str) -> None:
    code = f"import json, sys, typer, {room}.cli as it; typer.main.get_command(it.app)"
    code += "; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(json.loads(done.stdout)) & {"numpy", "pydantic", "flwr", "cryptography", "scipy", "jinja2"} == set()


def test_a_nodes_supervisor_reads_its_files_without_the_protocol() -> None:
    """It lives beside the node for as long as the node does, and is what a hospital's start waits for first."""
    code = "import json, sys, client.node.start; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(json.loads(done.stdout)) & {"numpy", "flwr", "common.study.protocol", "common.statistics"} == set()


PICKLING = {(owner, name) for owner in ("torch", "joblib") for name in ("load", "save", "dump")}


def test_no_pickle_no_eval_no_shell() -> None:
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            assert not imports(path) & {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve"}, path
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                    assert called not in ("eval", "exec") or isinstance(node.func, ast.Attribute), path
                    # These read pickles; networks travel as safetensors.
                    owner = getattr(getattr(node.func, "value", None), "id", "")
                    assert called != "read_pickle" and (owner, called) not in PICKLING, path
                    for keyword in node.keywords:
                        value = getattr(keyword.value, "value", None)
                        assert not (keyword.arg in ("shell", "allow_pickle") and value is True), path


@pytest.mark.parametrize("room", ROOMS)
def test_every_file_says_what_room_it_is_and_stays_small(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f'"""{room}'), path
        assert len(text.splitlines()) <= 420, path
        assert path.stem not in ("utils", "helpers", "misc"), path


def test_no_module_has_a_name_that_flower_leaves_out_of_a_bundle() -> None:
    """Flower takes `*_test.py` and `test_*.py` for tests: a module of that name would be missing at the sites."""
    names = [path.name for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    assert not [name for name in names if name.endswith("_test.py") or name.startswith("test_")]

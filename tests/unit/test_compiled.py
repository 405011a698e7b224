"""Compiled functions stand alone: what is kept of them on disk is renewed when their own file changes, no other."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.registry import CPUDispatcher

from firstmile.compiled import compiled
from firstmile.setting_sections import ROOT

STAGES = ("firstmile", "feature_repo", "pipelines", "training", "serving", "monitoring")
SOURCES = [p for stage in STAGES for p in sorted((ROOT / stage).rglob("*.py")) if "@compiled" in p.read_text()]


def named(tree: ast.Module) -> set[str]:
    """Names a module has from others, numpy left out, and those it gives values that may be made of them."""
    imports = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
    found = {alias.asname or alias.name for node in imports for alias in node.names} - {"np"}
    values = (target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets)
    return found | {node.id for target in values for node in ast.walk(target) if isinstance(node, ast.Name)}


def kernels(tree: ast.Module) -> list[ast.FunctionDef]:
    """The compiled functions."""
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return [f for f in functions if any(isinstance(d, ast.Name) and d.id == "compiled" for d in f.decorator_list)]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_compiled_function_uses_no_name_of_its_module_but_other_compiled_functions(source: Path) -> None:
    tree = ast.parse(source.read_text())
    assert kernels(tree)
    for kernel in kernels(tree):
        used = {node.id for statement in kernel.body for node in ast.walk(statement) if isinstance(node, ast.Name)}
        assert not used & named(tree), f"{kernel.name}: hand them over as arguments"


def test_they_are_compiled_and_kept_on_disk() -> None:
    from feature_repo import packing

    assert isinstance(packing.undeltas, CPUDispatcher)
    assert packing.undeltas(np.array([0, 0, 1]), np.array([3, 4, 5])).tolist() == [3, 7, 5]
    assert list((Path(packing.__file__).parent / "__pycache__").glob("packing.undeltas*.nbi"))


def test_without_a_place_to_keep_them_they_are_compiled_all_the_same() -> None:
    scope: dict[str, object] = {"compiled": compiled}
    exec("@compiled\ndef twice(n):\n    return 2 * n", scope)  # a function of no file
    assert scope["twice"](21) == 42  # type: ignore[operator]


def test_setting_up_compiles_all_of_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "feature_repo.warm_up"]
    subprocess.run(command, env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}, check=True, timeout=120)
    kept = {path.name.split("-")[0] for path in tmp_path.rglob("*.nbi")}
    assert kept == {f"{p.stem}.{k.name}" for p in SOURCES for k in kernels(ast.parse(p.read_text()))}

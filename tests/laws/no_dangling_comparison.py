"""Law 7, no dangling comparison: what is compared in a test or a notebook is asserted.

ruff's B015 finds comparisons whose result goes nowhere. It passes over the last expression of a
notebook cell, and over calls such as torch.equal(a, b): both are looked at here.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

from tests.laws.project import all_cells, shown, texts

_COMPARING_CALLS = {"allclose", "array_equal", "equal", "isclose"}


def violations(root: Path) -> list[str]:
    found = _ruff_b015(root)
    for cell in all_cells(root):
        last = cell.tree.body[-1] if cell.tree.body else None
        if isinstance(last, ast.Expr) and isinstance(last.value, ast.Compare):
            found.append(f"{cell.where}: ends with a comparison: assert it, or give it a name")
        found += [
            f"{cell.where}: line {line} compares and goes on: assert it"
            for line in _lost_calls(cell.tree)
        ]
    for name, text in texts(root, r"(^|/)(test_[^/]*|conftest)\.py$"):
        found += [
            f"{name} line {line}: compares and goes on: assert it"
            for line in _lost_calls(ast.parse(text))
        ]
    return found


def _lost_calls(tree: ast.AST) -> list[int]:
    """Lines of statements that are only a truth value, other than the comparisons of B015."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and _is_truth_value(node.value)
    ]


def _is_truth_value(node: ast.expr) -> bool:
    match node:
        case ast.BoolOp() | ast.UnaryOp(op=ast.Not()):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Compare(), attr="all" | "any")):
            return True
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name)):
            return name in _COMPARING_CALLS
    return False


def _ruff_b015(root: Path) -> list[str]:
    """ruff with this one rule, deaf to settings and `noqa`."""
    options = ["--isolated", "--select=B015", "--ignore-noqa", "--no-cache", "--output-format=json"]
    command = [sys.executable, "-m", "ruff", "check", *options, str(root)]
    result = subprocess.run(command, capture_output=True, encoding="utf-8")
    if result.returncode not in (0, 1):
        return [f"ruff did not run: {result.stderr.strip()}"]
    found = []
    for fault in json.loads(result.stdout):
        cell = f" cell {fault['cell']}" if fault["cell"] else ""
        place = f"{shown(root, Path(fault['filename']))}{cell} line {fault['location']['row']}"
        found.append(f"{place}: {fault['message']}")
    return found

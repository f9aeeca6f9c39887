"""The architecture, checked on the source: import direction, forbidden names, forbidden calls, file size."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"mixed_r1": ROOT / "mixed_r1", "mixed_r1_kernels": ROOT / "kernels" / "mixed_r1_kernels"}
MODULES = sorted(path for package in PACKAGES.values() for path in package.rglob("*.py"))

# What a part of mixed_r1 may import, beside itself. mixed_r1_kernels imports none of them.
LAYERS = [
    {"config", "foreign_names", "images", "frames", "golds", "options", "files", "http_client", "ranks"},
    {"loading", "run_directory"},
    {"tasks"},
    {"schema"},
    {"chat", "diagnosis", "opened"},
    {"data", "models"},
    {"rewards"},
    {"integrations", "serve", "train_config"},
    {"rollout", "engines"},
    {"train"},
    {"checking", "looking", "plan", "demo", "difficulty", "reference"},
    {"report"},
    {"cli"},
    {"__main__"},
]
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
# In one layer nothing knows its neighbours, but for the server, which speaks the shapes of the integrations.
SAME_LAYER = {("serve", "integrations")}

HEAVY = {"torch", "triton", "transformers"}
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "marshal", "shelve"}
FORBIDDEN_NAMES = {"utils.py", "helpers.py", "common.py", "misc.py"}


def test_there_is_something_to_check():
    assert len(MODULES) > 40


def test_kernels_is_never_a_package():
    assert not (ROOT / "kernels" / "__init__.py").exists()
    assert not any(path.name == "kernels" for path in (ROOT / "tests").rglob("*") if path.is_dir())


def test_tests_lie_as_the_packages_do():
    """tests/NAME is about mixed_r1/NAME; the kernels are in ops, what is fuzzed in fuzz."""
    packages = {path.parent.name for path in (ROOT / "mixed_r1").glob("*/__init__.py")}
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    assert folders <= packages | {"ops", "benchmarks"}
    modules = {path.stem for path in (ROOT / "mixed_r1").glob("*.py")}
    about_all = {"architecture", "dependencies", "docs", "extending", "python_versions"}
    about_all |= {"versions", "wheel"}
    alone = {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}
    assert alone <= modules | about_all


def test_no_drawer_modules():
    assert [path for path in MODULES if path.name in FORBIDDEN_NAMES] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path):
    part = part_of(path)
    for name in imported_modules(path):
        top, _, rest = name.partition(".")
        if path.is_relative_to(PACKAGES["mixed_r1_kernels"]):
            assert top not in ("mixed_r1", "transformers"), f"{path}: imports {name}"
            continue
        if top != "mixed_r1" or not rest:
            continue
        other = rest.split(".")[0]
        if other.startswith("_") or other == part or part == "__init__":
            continue
        allowed = RANK[other] < RANK[part] or (part, other) in SAME_LAYER
        assert allowed, f"{path}: {part} must not import {other}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_code_execution_and_no_pickle(path: Path):
    tree = ast.parse(path.read_text())
    for name in imported_modules(path):
        assert name.split(".")[0] not in FORBIDDEN_MODULES, f"{path}: imports {name}"
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else None
        assert called not in ("eval", "exec", "__import__"), f"{path}:{node.lineno}: calls {called}"
        for keyword in node.keywords:
            value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
            forbidden = (keyword.arg, value) in (("trust_remote_code", True), ("weights_only", False))
            assert not forbidden, f"{path}:{node.lineno}: {keyword.arg}={value}"


def test_kernels_import_torch_and_triton_lazily():
    """No module-level import of torch or triton outside the files imported only where tensors are passed."""
    lazy = {"reference.py", "chunked.py", "ops.py", "torch_fake.py"}
    for path in PACKAGES["mixed_r1_kernels"].rglob("*.py"):
        if path.name in lazy or path.name.startswith("triton_kernel") or "testing" in path.parts:
            continue
        for node in ast.parse(path.read_text()).body:
            names = direct_imports(node)
            assert not {name.split(".")[0] for name in names} & HEAVY, (
                f"{path}:{node.lineno}: imports {names}"
            )


def test_files_hold_one_idea():
    """At most 400 lines a source file."""
    sources = [
        *MODULES,
        *(ROOT / "csrc").rglob("*.cpp"),
        *(ROOT / "csrc").rglob("*.h"),
        *(ROOT / "csrc").rglob("*.cu"),
    ]
    too_long = {
        str(path.relative_to(ROOT)): n for path in sources if (n := len(path.read_text().splitlines())) > 400
    }
    assert too_long == {}


@pytest.mark.parametrize("folder", ["mixed_r1", "kernels/mixed_r1_kernels", "benchmarks"])
def test_no_module_reaches_itself(folder: str):
    """No circle of imports, lazy ones and those for types alone included."""
    root = ROOT / folder
    names = {path: module_name(path, root) for path in root.rglob("*.py")}
    known = set(names.values())
    imports = {name: set(neighbours(path, known)) for path, name in names.items()}
    circles = [name for name in imports if name in reached(name, imports)]
    assert circles == []


def neighbours(path: Path, known: set[str]) -> Iterator[str]:
    """Modules of ``known`` that a file imports; of ``from package import module``, the module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in known else node.module for name in inside if node.module in known)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)


def module_name(path: Path, root: Path) -> str:
    return ".".join((root.name, *path.relative_to(root).with_suffix("").parts)).removesuffix(".__init__")


def reached(start: str, imports: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(imports[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(imports[name])
    return found


def test_functions_fit_on_a_page():
    """At most 60 lines a function, its docstring and the functions inside it left out."""
    too_long = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, FUNCTIONS) and (lines := function_lines(node)) > 60:
                too_long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert too_long == {}


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    if not body:
        return 0
    inside = [child for child in ast.walk(node) if child is not node and isinstance(child, FUNCTIONS)]
    return body[-1].end_lineno - body[0].lineno + 1 - sum(function_lines(child) for child in inside)


def test_lines_of_functions_are_counted():
    text = ["def f():", '    """Two', '    lines."""', "    def g():", "        return 1", "    return g"]
    assert function_lines(ast.parse("\n".join(text)).body[0]) == 2


def part_of(path: Path) -> str:
    package = PACKAGES["mixed_r1"]
    if not path.is_relative_to(package):
        return "kernels"
    return path.relative_to(package).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> Iterator[str]:
    """Every module a file imports, anywhere in it, names of ``from package import module`` included."""
    for node in ast.walk(ast.parse(path.read_text())):
        yield from direct_imports(node)


def direct_imports(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module is not None:
        assert node.level == 0, "imports are absolute"
        if node.module == "mixed_r1":
            return [f"mixed_r1.{alias.name}" for alias in node.names]
        return [node.module]
    return []

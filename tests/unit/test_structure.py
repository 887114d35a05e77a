"""The shape of the source: permitted imports, and the length of modules and functions."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "led_pipeline"
TESTS = Path(__file__).parent
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
}

# Room (a folder or a module of the root) -> the rooms that it may import. Imports never form a cycle, not even
# through other rooms.
MAY_IMPORT = {
    "columns": [],
    "files": [],
    "jobs": ["files"],
    "user_code": ["files"],
    "versions": [],
    "recipe": ["files", "user_code"],
    "pretrained": ["files", "user_code", "recipe"],
    "fetch": ["files", "jobs", "recipe"],
    "data.formats": ["files", "recipe"],
    "data": ["files", "jobs", "recipe", "pretrained", "fetch", "data.formats", "versions"],
    "demo": ["files", "jobs", "recipe", "data"],
    "models": ["files", "jobs", "user_code", "recipe", "pretrained", "data"],
    "inference": ["files", "jobs", "recipe", "data", "models"],
    "training": ["files", "jobs", "user_code", "versions", "recipe", "data", "models", "inference", "evaluation"],
    "search": ["files", "jobs", "recipe", "data", "data.formats"],
    "evaluation": ["files", "jobs", "versions", "recipe", "data", "data.formats"],
    "report": ["columns", "files", "jobs", "recipe", "versions", "data", "data.formats", "evaluation"],
    "plan": ["columns", "files", "jobs", "recipe", "pretrained", "fetch", "data.formats", "search", "evaluation"],
    "use": [
        "columns",
        "files",
        "jobs",
        "user_code",
        "versions",
        "recipe",
        "pretrained",
        "fetch",
        "data",
        "data.formats",
        "models",
        "inference",
        "search",
        "evaluation",
    ],
    "export": [
        "columns",
        "files",
        "jobs",
        "versions",
        "recipe",
        "pretrained",
        "fetch",
        "data",
        "data.formats",
        "models",
        "inference",
        "search",
        "evaluation",
    ],
    "inspection": [
        "columns",
        "files",
        "jobs",
        "versions",
        "recipe",
        "pretrained",
        "fetch",
        "data",
        "data.formats",
        "search",
        "evaluation",
        "report",
        "plan",
    ],
    "serve": ["columns", "files", "jobs", "recipe", "data", "data.formats", "evaluation", "use"],
    "watch": ["files", "jobs", "recipe"],
    "commands": [
        "columns",
        "files",
        "jobs",
        "versions",
        "recipe",
        "pretrained",
        "fetch",
        "data",
        "data.formats",
        "evaluation",
        "report",
        "plan",
        "use",
        "export",
        "inspection",
        "serve",
        "watch",
    ],
    "cli": ["jobs", "commands"],
}
WITHOUT_TORCH = (
    "files",
    "jobs",
    "recipe",
    "pretrained",
    "fetch",
    "data.formats",
    "evaluation",
    "report",
    "plan",
    "inspection",
    "watch",
    "commands",
    "cli",
)


WITH_TORCH = {"jobs.loopback"}  # torchrun itself


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room(module: str) -> str:
    name = module.rpartition(".")[0] or module
    assert name in MAY_IMPORT, f"{module}: say in MAY_IMPORT what the room {name} may import"
    return name


def imports(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, anywhere in it."""
    imported = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: a relative import"
            imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    names = {name.removeprefix("led_pipeline.") for name in imported if name.startswith("led_pipeline.")}
    return names & MODULES.keys()


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module):
    for name in imports(MODULES[module]):
        assert room(name) == room(module) or room(name) in MAY_IMPORT[room(module)], f"{module} imports {name}"


def test_no_module_imports_itself_through_others():
    TopologicalSorter({module: imports(path) for module, path in MODULES.items()}).prepare()
    TopologicalSorter(MAY_IMPORT).prepare()


def test_the_root_has_few_modules_and_every_room_has_a_docstring():
    assert len(list(PACKAGE.glob("*.py"))) <= 7
    for name in {room(module) for module in MODULES if "." in module}:
        text = ast.get_docstring(ast.parse((PACKAGE / name.replace(".", "/") / "__init__.py").read_text()))
        assert text and len(text.splitlines()) <= 4, name


def test_the_folders_of_the_tests_mirror_the_package():
    tests = {path.relative_to(TESTS).parent.as_posix().replace("/", ".") for path in TESTS.rglob("test_*.py")} - {""}
    assert tests - {"."} <= MAY_IMPORT.keys()


def test_planning_and_counting_do_not_import_torch():
    modules = [module for module in MODULES if room(module) in WITHOUT_TORCH and module not in WITH_TORCH]
    code = (
        "import importlib, sys\n"
        f"for module in {modules}:\n"
        "    importlib.import_module('led_pipeline.' + module)\n"
        "    if heavy := {'torch', 'snakemake'} & sys.modules.keys(): sys.exit(f'{module} imports {heavy}')\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


# Rooms whose functions get typed arguments: main() alone sees an argparse.Namespace.
@pytest.mark.parametrize("module", MODULES)
def test_only_main_sees_an_argparse_namespace(module):
    tree = parsed(MODULES[module])
    namespaces = set()  # names of variables that hold a Namespace
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None:
            assert "Namespace" not in ast.unparse(node.annotation), f"{module}:{node.lineno}: a Namespace as parameter"
        if isinstance(node, ast.FunctionDef) and "parse_args()" in ast.unparse(node):
            assert node.name == "main", f"{module}.{node.name} parses the command line"
        if isinstance(node, ast.Assign) and ast.unparse(node.value).endswith(".parse_args()"):
            namespaces |= {ast.unparse(target) for target in node.targets}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        arguments = {ast.unparse(argument) for argument in [*call.args, *(keyword.value for keyword in call.keywords)]}
        if ast.unparse(call.func) != "vars":
            assert not arguments & namespaces, f"{module}:{call.lineno}: a Namespace goes to {ast.unparse(call.func)}"


@pytest.mark.parametrize("module", MODULES)
def test_settings_are_typed(module):
    """No lookup by a string, and no second default: the groups of keys have the types and the defaults."""
    for node in ast.walk(parsed(MODULES[module])):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).split(".")[-1] == "settings":
            assert not isinstance(node.slice, ast.Constant), f"{module}:{node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.arg) and node.arg == "settings" and node.annotation is not None:
            annotation = ast.unparse(node.annotation)
            assert not annotation.startswith(("dict", "Mapping")), f"{module}:{node.lineno}: settings: {annotation}"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_stays_under_300_lines_and_a_function_under_50(module):
    text = MODULES[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) < 300
    for node in ast.walk(parsed(MODULES[module])):
        if isinstance(node, ast.FunctionDef):
            documentation = len((ast.get_docstring(node, clean=False) or "").splitlines())
            assert node.end_lineno - node.lineno + 1 - documentation < 50, f"{module}.{node.name}"

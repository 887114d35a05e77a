"""The shape of the source: who may import whom, and how long a module or a function may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "led_pipeline"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
}

# Group of modules -> what of ours they may import besides their own group. A name stands for a module, those that begin
# with it and an underscore, and those inside of it; the longest one counts.
MAY_IMPORT = {
    "files_errors": [],
    "processes": [],
    "locks": ["files_errors"],
    "files": ["files_errors", "locks", "processes"],
    "versions": [],
    "own_code": ["files"],
    "model_folder": ["files", "own_code"],
    "tokenizer": ["files", "model_folder"],
    "recipe": ["files", "own_code"],
    "launch": ["files", "locks", "processes"],
    "loopback": [],
    "folder_names": ["files"],
    "contents": ["files", "data.streams"],
    "hub": ["files", "recipe", "folder_names"],
    "plan": [
        "files",
        "recipe",
        "hub",
        "launch",
        "model_folder",
        "data.sources",
        "data.streams",
        "search.java",
        "search.opensearch_node",
        "report_published",
    ],
    "run_lock": ["files", "locks"],
    "cli": ["files", "recipe", "plan", "report_summary"],
    "gate": ["files"],
    "data": ["files", "processes", "recipe", "versions", "tokenizer", "data.tokens"],
    "data.tokens": ["files", "tokenizer", "data"],
    "losses": [],
    "ranker_losses": [],
    "models": ["files", "own_code", "model_folder", "tokenizer", "data.tokens"],
    "pretrain": ["files", "data"],
    "health": [],
    "agreement": [],
    "sharding": ["files", "recipe"],
    "checkpoints": ["files", "locks", "sharding"],
    "watch": ["files", "health"],
    "loop": ["files", "health", "agreement", "sharding", "checkpoints", "watch"],
    "validation": ["files", "data", "models"],
    "teachers": ["files", "data"],
    "objectives": ["files", "own_code", "data", "models", "losses", "ranker_losses", "health", "teachers"],
    "train": [
        "files",
        "recipe_sharding",
        "versions",
        "own_code",
        "data",
        "models",
        "objectives",
        "teachers",
        "sharding",
        "checkpoints",
        "loop",
        "validation",
    ],
    "encode": ["files", "data", "models"],
    "score": ["files", "data", "models"],
    "search": ["files", "processes", "recipe_languages", "data"],
    "evaluate": ["files", "recipe", "data"],
    "report": ["files", "recipe", "versions", "data", "evaluate"],
}
WITHOUT_TORCH = (
    "files_errors",
    "processes",
    "locks",
    "run_lock",
    "files",
    "versions",
    "own_code",
    "model_folder",
    "tokenizer",
    "recipe",
    "launch",
    "folder_names",
    "contents",
    "hub",
    "plan",
    "cli",
    "gate",
    "evaluate",
    "report",
)


def group(module: str) -> str:
    fitting = [name for name in MAY_IMPORT if f"{module}.".startswith((f"{name}.", f"{name}_"))]
    assert fitting, f"{module}: say in MAY_IMPORT what it may import"
    return max(fitting, key=len)


def imports(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}:{node.lineno}: a relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    names = {name.removeprefix("led_pipeline.") for name in found if name.startswith("led_pipeline.")}
    return names & MODULES.keys()


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module):
    own = group(module)
    for name in imports(MODULES[module]):
        assert group(name) == own or any(f"{name}.".startswith((f"{a}.", f"{a}_")) for a in MAY_IMPORT[own]), (
            f"{module} imports {name}"
        )


@pytest.mark.parametrize("name", WITHOUT_TORCH)
def test_what_only_plans_or_counts_does_not_wait_for_torch(name):
    modules = [f"led_pipeline.{module}" for module in MODULES if group(module) == name]
    code = f"import sys, {', '.join(modules)}; print('torch' in sys.modules, 'snakemake' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False False\n"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_stays_under_300_lines_and_a_function_under_50(module):
    text = MODULES[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) < 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            documentation = len((ast.get_docstring(node, clean=False) or "").splitlines())
            assert node.end_lineno - node.lineno + 1 - documentation < 50, f"{module}.{node.name}"

"""The environment files under envs/ agree with one another, with pyproject.toml and with what is installed."""

import importlib.util
import re
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)")
LISTS = ("requirements.txt", "cpu.txt", "gpu.txt", "test.txt")
# Dependencies of torch and Faiss on Linux with CUDA only.
CUDA = ("cuda-", "nvidia-", "triton", "faiss-gpu")


def parse(lines: list[str], where: str) -> dict[str, str]:
    """Return name -> version; every line is an exact pin without a local version, a comment or empty."""
    pins = {}
    for line in filter(None, (line.partition("#")[0].strip() for line in lines)):
        match = PIN.fullmatch(line)
        assert match, f"{where}: '{line}' is not NAME==VERSION"
        assert canonicalize_name(match[1]) not in pins, f"{where}: {match[1]} is listed twice"
        pins[canonicalize_name(match[1])] = match[2]
    return pins


def pins(name: str) -> dict[str, str]:
    return parse((ROOT / "envs" / name).read_text().splitlines(), name)


def dependencies(names: list[str]) -> set[str]:
    """Return some installed packages and all their dependencies under this interpreter."""
    try:
        return _closure(names)
    except PackageNotFoundError as error:
        pytest.skip(f"needs the environment that `make test` makes for a CPU: no package {error.name}")


def _closure(names: list[str]) -> set[str]:
    visited: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(name), "") for name in names]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in visited:
            continue
        visited.add((name, extra))
        for requirement in map(Requirement, requires(name) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                dependency = canonicalize_name(requirement.name)
                waiting += [(dependency, extra) for extra in ("", *requirement.extras)]
    return {name for name, _ in visited}


def test_every_dependency_of_the_package_is_pinned_within_its_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    runtime = pins("requirements.txt")
    declared = {canonicalize_name(r.name): r for r in map(Requirement, project["dependencies"])}
    assert declared.keys() == runtime.keys()
    for extra, name in {"cpu": "cpu.txt", "gpu": "gpu.txt"}.items():
        optional = {canonicalize_name(r.name): r for r in map(Requirement, project["optional-dependencies"][extra])}
        assert optional.keys() == pins(name).keys()
        declared |= optional
        runtime |= pins(name)
    for name, requirement in declared.items():
        assert requirement.specifier.contains(runtime[name]), f"{requirement} excludes the pin {runtime[name]}"


@pytest.mark.parametrize("name", LISTS)
def test_constraints_repeat_every_pin(name):
    constraints = pins("constraints.txt")
    assert {package: constraints.get(package) for package in pins(name)} == pins(name)


def test_constraints_pin_exactly_the_packages_of_the_lists():
    names = [package for name in LISTS if name != "gpu.txt" for package in pins(name)]
    required = dependencies(names)
    constraints = pins("constraints.txt").keys()
    assert required - constraints == set()
    # SQLAlchemy asks for greenlet on some machines only.
    assert {name for name in constraints - required if not name.startswith(CUDA)} <= {"greenlet"}


# --- the digests


HASHED = re.compile(r"([A-Za-z0-9._-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n")


def locked(name: str) -> dict[str, str]:
    """Return the pins of a list of envs/lock/, which contains only a comment and pins with digests."""
    text = (ROOT / "envs" / "lock" / f"{name}.txt").read_text(encoding="utf-8")
    assert HASHED.sub("", text) == "# Made by `make lock`.\n"
    return {canonicalize_name(match[1]): match[2] for match in HASHED.finditer(text)}


def test_every_pin_has_digests_in_one_list():
    lists = {name: locked(name) for name in ("build", "torch", "cuda", "packages", "built", "cpu", "gpu", "test")}
    together = [pin for packages in lists.values() for pin in packages.items()]
    assert sorted(together) == sorted(pins("constraints.txt").items())
    assert locked("anserini") == pins("anserini.txt") and locked("audit") == pins("audit.txt")
    assert lists["torch"].keys() == {"torch"} and pins("gpu.txt").keys() <= lists["gpu"].keys()
    assert lists["cpu"] == pins("cpu.txt") and all(name.startswith(CUDA) for name in lists["cuda"] | lists["gpu"])
    assert "nvidia-ml-py" in lists["packages"], "it is imported on machines without a GPU, too"


def test_packages_for_tests_only_have_their_own_list():
    only_tests = dependencies(list(pins("test.txt"))) - dependencies([*pins("requirements.txt"), *pins("cpu.txt")])
    assert locked("test").keys() == only_tests


def test_every_installation_compares_digests():
    """Except torch from the user's own index, which is not one of PyPI's files."""
    for name in ("install.sh", "led.post-deploy.sh", "led-gpu.post-deploy.sh"):
        text = (ROOT / "envs" / name).read_text(encoding="utf-8")
        installs = [line.strip() for line in text.splitlines() if "pip install" in line]
        checked, torch, *package = installs
        assert "--no-deps --require-hashes" in checked and "s/^\\(torch==" in torch
        assert all('--no-deps --no-build-isolation -e "$source"' in line for line in package)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"pip install .*|\$\(PIP\) install .*", makefile) == [
        "$(PIP) install --no-deps --no-build-isolation -e .",
        "pip install --quiet --no-deps --require-hashes --only-binary :all: -r envs/lock/audit.txt",
    ]


def lock_module():
    spec = importlib.util.spec_from_file_location("lock", ROOT / "envs" / "lock.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "faiss", "other"), [("led", "cpu", "gpu"), ("led-gpu", "gpu", "cpu")])
def test_the_conda_environments_are_filled_from_the_same_lists(name, faiss, other):
    environment = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert environment["dependencies"] == ["python =3.12", "pip"]
    script = (ROOT / "envs" / f"{name}.post-deploy.sh").read_text(encoding="utf-8")
    assert script == lock_module().conda_script(ROOT / "envs" / "lock", faiss), "make lock"
    assert f"faiss-{faiss}" in script and f"faiss-{other}" not in script
    subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_apptainer_builds_what_the_dockerfile_says():
    text = (ROOT / "envs" / "led.def").read_text(encoding="utf-8")
    assert text == lock_module().apptainer_definition(), "make lock"
    dockerfile = (ROOT / "envs" / "Dockerfile").read_text(encoding="utf-8")
    (base,) = re.findall(r"^FROM (\S+)$", dockerfile, re.M)
    assert f"Bootstrap: docker\nFrom: {base}\n" in text
    copied = [pair.split() for pair in re.findall(r"^COPY (.*)$", dockerfile, re.M)]
    for source, _ in copied:
        assert (ROOT / source).exists(), source
    # Both run the one script that installs the pins, where they have put it, with the lists beside it.
    targets = [target for _, target in copied]
    assert targets == ["/opt/led/install.sh", "/opt/led/lock"]
    assert "    PIP_NO_CACHE_DIR=1 sh /opt/led/install.sh python gpu\n" in text

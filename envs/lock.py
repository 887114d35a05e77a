"""Write envs/lock/: the pins of this folder with the SHA-256 of every file that pip may install for them.

Run as `make lock`, in an environment created by `make test`: the metadata of the installed packages decides which pin
belongs to which list. The digests come from the package index (PIP_INDEX_URL, https://pypi.org/simple by default). Only
wheels for the platforms below are listed; a package without one for some of them is in built.txt, with its source.
"""

import os
import re
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import requires
from pathlib import Path

import requests
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import canonicalize_name, parse_wheel_filename

ENVS = Path(__file__).parent
INDEX = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
PIN = re.compile(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)")
# Dependencies of torch on Linux with CUDA only, and those of Faiss for the GPU.
CUDA = ("cuda-", "nvidia-", "triton")
NOT_CUDA = {"nvidia-ml-py"}  # in Python, and installed without a GPU, too
FAISS_CUDA = ("nvidia-cublas-cu12", "nvidia-cuda-nvrtc-cu12", "nvidia-cuda-runtime-cu12")
PYTHONS = ((3, 11), (3, 12), (3, 13))
LINUX = ("manylinux1", "manylinux2010", "manylinux2014", *(f"manylinux_2_{minor}" for minor in range(5, 40)))
PLATFORMS = {
    "linux x86_64": [f"{kind}_x86_64" for kind in (*LINUX, "linux")],
    "linux aarch64": [f"{kind}_aarch64" for kind in (*LINUX, "linux")],
    "macOS arm64": list(mac_platforms((26, 0), "arm64")),
}


def pins(name: str) -> dict[str, str]:
    """Return name -> version of a list in this folder; every line is an exact pin, a comment or empty."""
    lines = (line.partition("#")[0].strip() for line in (ENVS / name).read_text(encoding="utf-8").splitlines())
    matches = [PIN.fullmatch(line) or sys.exit(f"{name}: '{line}' is not NAME==VERSION") for line in lines if line]
    return {canonicalize_name(match[1]): match[2] for match in matches}


def closure(names: Iterable[str]) -> set[str]:
    """Return some installed packages and all their dependencies under this interpreter.

    Raises:
        PackageNotFoundError: one of them is not installed.
    """
    visited: set[tuple[str, str]] = set()
    waiting = [(canonicalize_name(name), "") for name in names]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) not in visited:
            visited.add((name, extra))
            for requirement in map(Requirement, requires(name) or []):
                if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                    dependency = canonicalize_name(requirement.name)
                    waiting += [(dependency, extra) for extra in ("", *requirement.extras)]
    return {name for name, _ in visited}


def split() -> dict[str, dict[str, str]]:
    """Return the pins of each list of envs/lock/ except built.txt, by its name."""
    constraints = pins("constraints.txt")
    tests = closure(pins("test.txt")) - closure(pins("requirements.txt"))
    apart = {"torch", "setuptools", *pins("cpu.txt"), *pins("gpu.txt"), *FAISS_CUDA}
    cuda = {name for name in constraints if name.startswith(CUDA)} - apart - NOT_CUDA
    groups = {
        "torch": {"torch"},
        "cuda": cuda,
        "cpu": set(pins("cpu.txt")),
        "gpu": {*pins("gpu.txt"), *FAISS_CUDA},
        "test": tests - apart - cuda,
        "packages": constraints.keys() - tests - apart - cuda,
        "build": {"setuptools"},
    }
    return {group: {name: constraints[name] for name in sorted(names)} for group, names in groups.items()} | {
        "anserini": pins("anserini.txt"),
        "audit": pins("audit.txt"),
        "mutation": pins("mutation.txt"),
    }


@cache
def targets() -> dict[str, frozenset[Tag]]:
    """Return the tags of the wheels that each Python on each platform can install."""
    return {
        f"Python {version[0]}.{version[1]}, {platform}": frozenset(
            [*cpython_tags(version, platforms=names), *compatible_tags(version, f"cp{version[0]}{version[1]}", names)]
        )
        for version in PYTHONS
        for platform, names in PLATFORMS.items()
    }


def digests(name: str, version: str) -> tuple[list[str], list[str], list[str]]:
    """Return the digests of a package's wheels, those of its sources, and the targets without a wheel."""
    headers = {"Accept": "application/vnd.pypi.simple.v1+json"}
    answer = requests.get(f"{INDEX}/{name}/", headers=headers, timeout=60)
    answer.raise_for_status()
    wheels, sources, without = [], [], targets()
    for file in answer.json()["files"]:
        path, digest = file["filename"], file["hashes"]["sha256"]
        if path.endswith(".whl"):
            _, release, _, tags = parse_wheel_filename(path)
            fitting = [target for target, valid in targets().items() if valid & tags] if str(release) == version else []
            if fitting:
                wheels.append(digest)
                without = {target: valid for target, valid in without.items() if target not in fitting}
        elif canonicalize_name(path) == canonicalize_name(f"{name}-{version}.tar.gz"):
            sources.append(digest)
    return sorted(wheels), sorted(sources), list(without)


def lines(name: str, version: str, sha256: list[str]) -> str:
    return " \\\n    ".join([f"{name}=={version}", *(f"--hash=sha256:{digest}" for digest in sha256)]) + "\n"


def conda_script(folder: Path, faiss: str) -> str:
    """Return the script that fills Snakemake's conda environments, which must be a single file.

    Args:
        faiss: cpu or gpu.
    """
    text = (ENVS / "install.sh").read_text(encoding="utf-8")
    names = ("build", "torch", "cuda", "packages", "built", faiss, "anserini")
    files = "".join(
        f"cat > $locks/{n}.txt <<'END'\n{(folder / f'{n}.txt').read_text(encoding='utf-8')}END\n" for n in names
    )
    head = "# Snakemake runs this once, inside the environment of the conda file. Made by `make lock` from install.sh\n"
    head += "# and lock/, since Snakemake copies this file elsewhere. Run by hand in such an environment\n"
    head += "# (sh envs/led.post-deploy.sh), it also installs led_pipeline, with Snakemake's plugin.\n"
    place = "locks=$(mktemp -d)\ntrap 'rm -rf \"$locks\"' EXIT\n"
    body = text.replace('locks=$(dirname "$0")/lock\n', place + files).replace(
        "python=$1\nfaiss=$2\n", f"python=python\nfaiss={faiss}\n"
    )
    end = 'source=$(dirname "$0")/..\n[ ! -f "$source/pyproject.toml" ] || '
    end += '"$python" -m pip install --no-deps --no-build-isolation -e "$source"\n'
    return head + body.partition("\n\n")[2] + end


def apptainer_definition() -> str:
    """Return the Dockerfile as a definition of Apptainer, which reads no Dockerfiles.

    Raises:
        ValueError: a line has an instruction without a counterpart here.
    """
    base, files, post, environment = "", [], [], []
    for line in (ENVS / "Dockerfile").read_text(encoding="utf-8").splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base = rest
        elif instruction == "COPY":
            files.append(rest)
        elif instruction == "RUN":
            post.append(rest)
        elif instruction == "ENV":
            environment.append(f"export {rest}")
        elif instruction not in ("#", ""):
            raise ValueError(f"Dockerfile: no counterpart for '{line}'")
    sections = {"files": files, "post": post, "environment": environment}
    head = "# Made by `make lock` from the Dockerfile. In the root of the clone:\n"
    head += f"#   apptainer build envs/led.sif envs/led.def\nBootstrap: docker\nFrom: {base}\n"
    return head + "".join(f"\n%{name}\n" + "".join(f"    {each}\n" for each in s) for name, s in sections.items())


def main() -> None:
    folder = ENVS / "lock"
    folder.mkdir(exist_ok=True)
    written: dict[str, list[str]] = {"built": []}
    for group, packages in split().items():
        written[group] = []
        for name, version in packages.items():
            wheels, sources, without = digests(name, version)
            if not wheels and not sources:
                sys.exit(f"{name}=={version}: {INDEX} has no file of it for these platforms")
            if wheels and without and group not in ("cuda", "gpu"):
                print(f"{name}=={version}: no wheel for {'; '.join(without)}", file=sys.stderr)
            build = group == "packages" and bool(without)
            written["built" if build else group].append(lines(name, version, wheels + sources * (build or not wheels)))
    for group, entries in written.items():
        (folder / f"{group}.txt").write_text("# Made by `make lock`.\n" + "".join(sorted(entries)), encoding="utf-8")
    for faiss, name in {"cpu": "led", "gpu": "led-gpu"}.items():
        (ENVS / f"{name}.post-deploy.sh").write_text(conda_script(folder, faiss), encoding="utf-8")
    (ENVS / "led.def").write_text(apptainer_definition(), encoding="utf-8")


if __name__ == "__main__":
    main()

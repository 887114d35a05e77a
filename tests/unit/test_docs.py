"""The documentation: links and anchors exist, the picture of the rooms is right, and hooks name targets that exist."""

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from test_structure import MAY_IMPORT, WITHOUT_TORCH

ROOT = Path(__file__).parents[2]
ROOMS = ROOT / "docs" / "pictures" / "rooms.svg"
SVG = "{http://www.w3.org/2000/svg}"
TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
).stdout.split("\n")
PAGES = [name for name in TRACKED if name.endswith(".md") and (ROOT / name).is_file()]
PAGES = PAGES or [path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]]
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", PAGES)
def test_every_relative_link_and_anchor_exists(name):
    page = ROOT / name
    for target in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), f"{name}: {target}"
        assert not anchor or anchor in anchors(file), f"{name}: {target}"


def test_pages_mentioned_in_code_comments_and_messages_exist():
    for name in TRACKED:
        if Path(name).suffix in {".py", ".smk", ".yaml", ".toml", ".sh", ".md"} and (ROOT / name).is_file():
            for page in re.findall(r"(?<![\w/.])docs/[\w./-]*\.md\b", (ROOT / name).read_text(encoding="utf-8")):
                assert (ROOT / page).is_file(), f"{name}: {page}"


def test_every_page_is_in_the_index():
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(index.read_text("utf-8"))}
    assert set(index.parent.rglob("*.md")) - {index} <= linked


def test_the_picture_of_the_rooms_has_every_room_above_what_it_imports():
    layers, without_torch = {}, set()
    for group in ElementTree.parse(ROOMS).iter(f"{SVG}g"):
        number = int(group.get("id").removeprefix("layer-"))
        for border, name in zip(group.iter(f"{SVG}rect"), (t for t in group if "room" in t.get("class")), strict=True):
            layers[name.text] = number
            without_torch |= {name.text} if "dashed" in border.get("class") else set()
    assert layers.keys() == MAY_IMPORT.keys(), "docs/pictures/rooms.svg: a box for each room"
    upwards = [(room, below) for room, rooms in MAY_IMPORT.items() for below in rooms if layers[below] >= layers[room]]
    assert not upwards, "docs/pictures/rooms.svg: put a room above every room that it may import"
    assert without_torch == set(WITHOUT_TORCH), "docs/pictures/rooms.svg: dashed borders"


def test_the_architecture_page_names_every_module():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = {path.stem for path in (ROOT / "src" / "led_pipeline").rglob("*.py")} - {"__init__"}
    assert not [name for name in sorted(modules) if f"`{name}`" not in page]


@pytest.mark.parametrize("name", [name for name in TRACKED if name.endswith(".svg")])
def test_pictures_load_no_other_files(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert ElementTree.fromstring(text).find(f"{SVG}title") is not None
    assert "href" not in text and "@import" not in text and "url(http" not in text


def make_targets(text: str) -> set[str]:
    return set(re.findall(r"\bmake ([a-z][a-z-]*)", re.sub(r"#.*", "", text)))


@pytest.mark.parametrize("name", [".github/workflows/ci.yml", ".pre-commit-config.yaml", ".ci/run"])
def test_hooks_and_continuous_integration_call_targets_of_the_makefile(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert make_targets(text) and make_targets(text) <= targets
    if name != ".ci/run":
        assert yaml.safe_load(text)


def test_issue_forms_have_unique_fields():
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        fields = [field["id"] for field in form.get("body", []) if "id" in field]
        assert len(fields) == len(set(fields))
        assert path.name == "config.yml" or {"name", "description", "body"} <= form.keys()


def test_the_site_is_built_and_links_to_files_outside_docs_work_on_it(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"NO_MKDOCS_2_WARNING": "1"})
    assert answer.returncode == 0, answer.stderr
    page = (tmp_path / "site" / "guides" / "sharding.html").read_text(encoding="utf-8")
    assert 'href="../repository/config/accelerate/fsdp.yaml"' in page
    assert (tmp_path / "site" / "repository" / "config" / "accelerate" / "fsdp.yaml").is_file()
    for html in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(r'<(?:script|link|img)[^>]* (?:src|href)="(https?:[^"]*)', html.read_text(encoding="utf-8"))
        assert not loaded, f"{html}: {loaded}"

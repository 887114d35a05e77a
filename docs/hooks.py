"""Hook of mkdocs: files of the repository outside docs/ that a page links to become part of the site.

A relative link such as `../config/config.yaml` works on GitHub as it is. On the site the linked file is served from
`repository/`, where README.md and other Markdown files are pages, and links in them are followed in the same way.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

DOCS = "docs"
OUTSIDE = "repository"
LINK = re.compile(r"(!?\[[^\]]*\]\()(?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def repository_path(uri: str) -> str:
    """Return where a page of the site is in the repository."""
    return uri.removeprefix(OUTSIDE + "/") if uri.startswith(OUTSIDE + "/") else f"{DOCS}/{uri}"


def site_path(path: str) -> str:
    """Return where a file of the repository is on the site, as the source path that mkdocs knows."""
    return path.removeprefix(DOCS + "/") if path.startswith(DOCS + "/") else f"{OUTSIDE}/{path}"


def linked(markdown: str, page: str) -> list[str]:
    """Return the repository paths of all relative links of a page, code blocks left out."""
    folder = posixpath.dirname(page)
    return [posixpath.normpath(posixpath.join(folder, match[2])) for match in LINK.finditer(FENCE.sub("", markdown))]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file outside docs/ that a page, or a page added here, links to."""
    root = Path(config.config_file_path).parent
    waiting = [f"{DOCS}/{file.src_uri}" for file in files.documentation_pages()]
    while waiting:
        page = waiting.pop()
        for path in linked((root / page).read_text(encoding="utf-8"), page):
            if path.startswith((DOCS + "/", "..")) or site_path(path) in files.src_uris or not (root / path).is_file():
                continue
            content = (root / path).read_bytes()
            added = File.generated(config, site_path(path), content=content, inclusion=InclusionLevel.NOT_IN_NAV)
            files.append(added)
            if path.endswith(".md"):
                waiting.append(path)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links of a page that leave docs/, or that come from outside, at the site's copies."""
    source = repository_path(page.file.src_uri)

    def moved(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        if source.startswith(DOCS + "/") and path.startswith(DOCS + "/"):
            return match[0]
        target = posixpath.relpath(site_path(path), posixpath.dirname(page.file.src_uri))
        return f"{match[1]}{target}{match[3] or ''})"

    return LINK.sub(moved, markdown)

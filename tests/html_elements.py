"""Read HTML into a tree, to ask what a reader sees: elements by tag and class, and their text."""

from collections.abc import Iterator
from html.parser import HTMLParser
from xml.etree.ElementTree import Element

VOID = {"area", "br", "col", "hr", "img", "input", "link", "meta", "wbr"}


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("root")
        self.open = [self.root]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.open[-1].append(Element(tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag):
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data):
        parent = self.open[-1]
        if len(parent):
            parent[-1].tail = (parent[-1].tail or "") + data
        else:
            parent.text = (parent.text or "") + data


def read(html: str) -> Element:
    """Return the root of a page; an element that is not closed, or closed in the wrong order, fails."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == [reader.root], f"<{reader.open[-1].tag}> is not closed"
    return reader.root


def every(root: Element, selector: str) -> Iterator[Element]:
    """Yield elements by tag, class or both: "h2", ".hit", "li.hit"."""
    tag, _, classes = selector.partition(".")
    for element in root.iter():
        if tag in ("", element.tag) and set(filter(None, classes.split("."))) <= set(element.get("class", "").split()):
            yield element


def text(element: Element) -> str:
    """Return what an element says, on one line."""
    return " ".join("".join(element.itertext()).split())


def texts(root: Element, selector: str) -> list[str]:
    return [text(element) for element in every(root, selector)]

"""Builds HTML in which every text is escaped."""

from collections.abc import Iterable, Sequence
from html import escape


class Html(str):
    """A piece of HTML; any other text is escaped before it becomes a part of one."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: str) -> Html:
    """Returns an element with its children; an attribute's name may end in `_`, as `class_` does."""
    written = "".join(f' {name.rstrip("_")}="{escape(value)}"' for name, value in attributes.items())
    if tag in ("img", "meta"):
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{joined(children)}</{tag}>")


def joined(parts: Iterable[str]) -> Html:
    """Returns the parts one after the other."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in parts))


def table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> Html:
    """Returns a table whose first column names its rows, in a box that scrolls where the page is narrow."""
    titles = element("tr", *(element("th", title, scope="col") for title in header))
    body = [
        element("tr", element("th", name, scope="row"), *(element("td", cell) for cell in cells))
        for name, *cells in rows
    ]
    above = [element("caption", caption)] if caption else []
    return element("div", element("table", *above, element("thead", titles), element("tbody", *body)), class_="scroll")


def facts(values: Iterable[tuple[str, str]]) -> Html:
    """Returns a list of names and their values."""
    return element("dl", *(element("div", element("dt", name), element("dd", value)) for name, value in values))

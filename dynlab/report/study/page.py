"""The HTML page of a study: one file that opens from disk, offline, like the pages of analyses.

The discussion of a study is Markdown. Of that the page knows what a discussion needs: paragraphs, lists whose items
begin with a dash, `**strong**`, `*emphasis*`, code between backticks, and `[links](https://...)`. All else stands as it
was written.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from dynlab.files import check_writable_file, written_atomically
from dynlab.report.shell import assets, environment
from dynlab.report.study.parts import StudyPage

if TYPE_CHECKING:
    from markupsafe import Markup

_INLINE = (
    (re.compile(r"`([^`]+)`"), r"<code>\1</code>"),
    (re.compile(r"\*\*(\S(?:.*?\S)?)\*\*"), r"<strong>\1</strong>"),
    (re.compile(r"\*(\S(?:.*?\S)?)\*"), r"<em>\1</em>"),
    # The text is escaped, so that an address holds no other entity than an ampersand.
    (re.compile(r"\[([^\[\]]+)\]\((https?://(?:[^\s()<>*&]|&amp;)+)\)"), r'<a href="\2">\1</a>'),
)
_ITEM = re.compile(r"[-*] +(?=\S)")


def write_page(page: StudyPage, path: str | Path) -> Path:
    """Write the page of a study.

    Args:
        page: All that it shows.
        path: The file to write; folders above it are made.

    Returns:
        The path of the file.

    Raises:
        InputError: If the file cannot be written.
    """
    path = Path(path)
    check_writable_file(path, parameter="path")
    text = render_study_page(page)
    with written_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def render_study_page(page: StudyPage) -> str:
    """The page as text; equal values give equal pages."""
    template = environment().get_template("study.html.jinja")
    return template.render(page=page, title=page.title, discussion=markdown(page.discussion), **assets())


def markdown(text: str) -> Markup:
    """Markdown as HTML, as far as the module says; everything in it that is HTML already is shown as it was written."""
    from markupsafe import Markup, escape

    blocks = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        lines = [line.strip() for line in paragraph.splitlines()]
        items: list[list[str]] = []  # of a list; lines that begin none go on with the last one
        before: list[str] = []
        for line in lines:
            if begun := _ITEM.match(line):
                items.append([line[begun.end() :]])
            else:
                (items[-1] if items else before).append(line)
        if any(before):
            blocks.append(f"<p>{_inline(str(escape(' '.join(before))))}</p>")
        if items:
            entries = "".join(f"<li>{_inline(str(escape(' '.join(item))))}</li>" for item in items)
            blocks.append(f"<ul>{entries}</ul>")
    return Markup("\n".join(blocks))  # all text in it was escaped above


def _inline(escaped: str) -> str:
    """Marks within a paragraph; between backticks they are none."""
    pieces = re.split(r"(`[^`]+`)", escaped)
    for place, piece in enumerate(pieces):
        for pattern, html in _INLINE[:1] if piece.startswith("`") else _INLINE[1:]:
            pieces[place] = pattern.sub(html, pieces[place])
    return "".join(pieces)

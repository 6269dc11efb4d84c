"""A hook of mkdocs: links from a page to a file outside of docs/ work in the repository, but not on the site.

On the site such a link becomes its text, and the path shows when the mouse is over it.
"""

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)#\s]+)[^)]*\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Return the page without the links that leave docs/."""
    docs = Path(config["docs_dir"]).resolve()
    folder = (docs / page.file.src_uri).parent

    def kept(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if target.is_relative_to(docs):
            return link[0]
        return f'<span title="{target.relative_to(docs.parent)}">{link[1]}</span>'

    return LINK.sub(kept, markdown)

"""Words from records as a reader is to see them: literally, whatever they hold."""

import re
from textwrap import wrap

from supermasks.brief import visible

# In Markdown a backslash makes any of these literal. An underscore between letters is literal by itself.
_MARKUP = re.compile(r"[\\`*\[\]<>|#~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def in_markdown(text: str) -> str:
    r"""Return a text that Markdown shows literally.

    Example:
        >>> print(in_markdown("a|b *c* weight_rate <d>"))
        a\|b \*c\* weight_rate \<d\>
    """
    return _MARKUP.sub(lambda found: f"\\{found[0]}", visible(text))


def as_code(text: str) -> str:
    """Return a text as code in a line of Markdown.

    Example:
        >>> as_code("a=1"), as_code("a=`b`")
        ('`a=1`', '`` a=`b` ``')
    """
    shown = visible(text)
    longest = max((len(ticks) for ticks in re.findall("`+", shown)), default=0)
    return f"`{shown}`" if not longest else f"{'`' * (longest + 1)} {shown} {'`' * (longest + 1)}"


def in_picture(text: str, width: int | None = None) -> str:
    r"""Return a text that matplotlib shows literally: no formulas, and no label that it takes for a private one.

    Args:
        text: any.
        width: of a line, in characters; longer texts are broken into lines. None keeps one line.

    Example:
        >>> in_picture("_a costs $1"), in_picture("one two three", 8)
        (' _a costs \\$1', 'one two\nthree')
    """
    shown = visible(text)
    lines = [shown] if width is None else wrap(shown, width)
    escaped = "\n".join(lines).replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped

"""Write the table of measured results in docs/results.md anew, from the records in `results/`.

python tools/update_results.py
"""

import re
from pathlib import Path

from supermasks.report import markdown_table, read_runs, summarise

ROOT = Path(__file__).parent.parent
PLACE = re.compile(r"(<!-- made by tools/update_results.py -->\n).*?(\n<!-- end -->)", re.DOTALL)


def main() -> None:
    page = ROOT / "docs/results.md"
    table = markdown_table(summarise(read_runs([ROOT / "results"]).values())).strip()
    text, count = PLACE.subn(lambda found: found[1] + table + found[2], page.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit(f"{page} must have the two comments between which the table stands, once")
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

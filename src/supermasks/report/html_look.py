"""How the HTML report looks, and the only script in it: both are inline, and nothing else may run or load."""

from base64 import b64encode
from hashlib import sha256

STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --back: #fff; --soft: #57606a; --line: #d0d7de; --shade: #f6f8fa;
  --c0: #0072b2; --c1: #d55e00; --c2: #007a5a; --c3: #9a6700;
  --c4: #a8457f; --c5: #57606a; --c6: #4b3fc4; --c7: #6b4a2b; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --back: #0d1117; --soft: #9da7b3; --line: #30363d;
  --shade: #161b22; --c0: #56b4e9; --c1: #ff8c42; --c2: #2fbf96; --c3: #e69f00;
  --c4: #e08fc0; --c5: #9da7b3; --c6: #a79bff; --c7: #c9a27a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); margin: 0 auto;
  padding: 1rem; max-width: 84rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2rem; } h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p, figcaption { color: var(--soft); max-width: 60rem; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; }
table { border-collapse: collapse; font-size: .86rem; width: 100%; }
th, td { padding: .35rem .6rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { background: var(--shade); } thead .number { white-space: normal; min-width: 5rem; }
tbody th { font-weight: normal; }
tbody tr:last-child > * { border-bottom: 0; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.words { min-width: 9rem; overflow-wrap: anywhere; }
th button { all: unset; cursor: pointer; font: inherit; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--c0); }
th button::after { content: " \\2195"; color: var(--soft); }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: 0 .8rem; }
summary { cursor: pointer; padding: .5rem 0; font-weight: 600; overflow-wrap: anywhere; }
details p, details pre { overflow-wrap: anywhere; white-space: pre-wrap; }
code, pre { font: .85em/1.5 ui-monospace, monospace; background: var(--shade); padding: .1rem .3rem; }
figure { margin: .5rem 0; display: inline-block; vertical-align: top; width: min(34rem, 100%); }
svg { width: 100%; height: auto; } svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg .axis { stroke: var(--line); } svg .line { fill: none; stroke-width: 1.8; } .key { display: block; }
.s0 { stroke: var(--c0); color: var(--c0); } .s1 { stroke: var(--c1); color: var(--c1); }
.s2 { stroke: var(--c2); color: var(--c2); } .s3 { stroke: var(--c3); color: var(--c3); }
svg .s4 { stroke-dasharray: 12 3; } svg .s5 { stroke-dasharray: 4 4; } svg .s6 { stroke-dasharray: 1 2; }
svg .s7 { stroke-dasharray: 12 3 4 3; }
.s4 { stroke: var(--c4); color: var(--c4); } .s5 { stroke: var(--c5); color: var(--c5); }
.s6 { stroke: var(--c6); color: var(--c6); } .s7 { stroke: var(--c7); color: var(--c7); }
svg .s1 { stroke-dasharray: 7 3; } svg .s2 { stroke-dasharray: 2 3; } svg .s3 { stroke-dasharray: 9 2 2 2; }
.cell { fill: var(--c0); } svg .dark { fill: #fff; } svg .faint { fill: var(--text); }
@media (prefers-color-scheme: dark) { svg .dark { fill: #000; } }
"""

SCRIPT = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numbers = head.classList.contains("number");
      const was = head.getAttribute("aria-sort");
      const up = was ? was !== "ascending" : !numbers;
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = row => row.cells[column].dataset.value;
      const rows = [...body.rows].sort((a, b) => {
        const one = value(a), other = value(b);
        if (!one || !other) return (one ? 0 : 1) - (other ? 0 : 1);
        const order = numbers ? one - other : one.localeCompare(other, undefined, {numeric: true});
        return up ? order : -order;
      });
      body.append(...rows);
    });
  });
}
"""


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; style-src {_digest(STYLE)}; script-src {_digest(SCRIPT)}; base-uri 'none'; form-action 'none'"
)
"""The Content-Security-Policy: only this style and this script, and no request of any kind."""

"""Pages of the report: one HTML file each, with its style inside, that asks no other machine for anything."""

import html

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; margin: 0 auto; padding: 1em 2em 4em;
  max-width: 100em; }
p, li, blockquote { max-width: 62em; }
h1, h2, h3 { line-height: 1.2; margin: 1.6em 0 0.5em; }
h1 { margin-top: 0.5em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 0.8em 0; font-size: 13px; }
th, td { border-bottom: 1px solid #ddd; padding: 0.25em 0.7em; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid #555; background: #fff; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr:hover td { background: #f3f6fa; }
pre, code { font: 13px/1.45 ui-monospace, monospace; }
pre { background: #f6f6f6; padding: 0.8em 1em; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; }
blockquote { margin: 0.8em 0; padding-left: 1em; border-left: 3px solid #ccc; color: #444; }
summary { cursor: pointer; }
a.anchor-link { display: none; }
"""


def page(title: str, body: str) -> str:
    """The whole file; the body is HTML, the title plain text."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def number(value: float) -> str:
    """As a reader wants it: three digits that count, all of those before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def cell(value: object) -> str:
    """One cell: numbers to the right; None is empty."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f'<td class="number">{number(value) if isinstance(value, float) else format(value, ",")}</td>'
    return f"<td>{html.escape('' if value is None else str(value))}</td>"


def table(rows: list[dict]) -> str:
    """Rows of the same keys, which are the headings (of words, that they can be broken), as HTML; values are plain."""
    heads = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in rows[0])
    lines = "\n".join(f"<tr>{''.join(map(cell, row.values()))}</tr>" for row in rows)
    return f'<div class="wide"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>'

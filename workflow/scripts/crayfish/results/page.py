"""Pages of the report: one HTML file each, with its style inside, that loads nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup

STYLE = """:root { color-scheme: light; }
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

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{{ title }}</title>
<style>
{{ style }}</style>
</head>
<body>
{{ body }}
</body>
</html>
"""
TABLE = """<div class="wide"><table>
<thead><tr>{% for name in rows[0] %}<th>{{ name | replace("_", " ") }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for value in row.values() %}<td{% if value is number and value is not boolean %} class="number"{% endif %}>
{{- value | cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>"""


def number(value: float) -> str:
    """A number with three significant digits, and all of its digits before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def cell(value: object) -> str:
    """A value of a table as plain text; None is empty."""
    if isinstance(value, float):
        return number(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return format(value, ",")
    return "" if value is None else str(value)


# Whatever a template is given is escaped, unless it is Markup.
TEMPLATES = jinja2.Environment(
    autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True
)
TEMPLATES.filters["cell"] = cell


def render(template: str, **values: Any) -> Markup:
    """The HTML that a template makes of some values."""
    return Markup(TEMPLATES.from_string(template).render(**values))


def page(title: str, body: str) -> str:
    """The whole file; the body is HTML, the title plain text."""
    return str(render(PAGE, title=title, style=Markup(STYLE), body=Markup(body)))


def table(rows: Sequence[dict[str, Any]]) -> Markup:
    """Rows, at least one, of the same keys as HTML; the keys are the headings, an underscore in them a space."""
    return render(TABLE, rows=rows)

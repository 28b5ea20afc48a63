"""Holds the style of the page: one column of text, light or dark as the reader's system is, from 320 pixels on."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --page: #ffffff; --line: #e0e1e6; --box: #f7f7f9;
  --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #edeef0; --soft: #a5abb5; --page: #16181b; --line: #34383e; --box: #1f2226; --accent: #6cb8ea; }
  figure img { filter: invert(0.91) hue-rotate(180deg); }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 24px 20px 48px; }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 40px 0 12px; padding-top: 16px; border-top: 1px solid var(--line); font-size: 1.2rem; }
p { max-width: 75ch; margin: 12px 0; color: var(--soft); overflow-wrap: anywhere; }
p.note { color: var(--ink); border-left: 3px solid var(--accent); padding-left: 12px; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(260px, 1fr)); gap: 12px 32px; margin: 16px 0; }
dt { color: var(--soft); font-size: 0.85rem; }
dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 12px 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 8px 0; }
th, td { padding: 6px 14px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line); }
th:first-child { position: sticky; left: 0; padding-left: 0; text-align: left; background: var(--page);
  max-width: 22rem; white-space: normal; overflow-wrap: anywhere; }
thead th { color: var(--soft); font-size: 0.85rem; font-weight: 500; vertical-align: bottom; }
tbody th { font-weight: 500; min-width: 7rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); gap: 20px; }
figure { margin: 0; }
img { display: block; width: 100%; height: auto; border-radius: 6px; }
pre { margin: 0; padding: 12px 16px; overflow-x: auto; background: var(--box); border: 1px solid var(--line);
  border-radius: 6px; font: 14px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
@media (max-width: 600px) {
  main { padding: 16px 14px 32px; }
  th, td { padding: 6px 8px; font-size: 0.9rem; }
  tbody th { min-width: 5.5rem; }
}
@media print { section { break-inside: avoid; } }
"""
"""CSS without any `<` or `&`, as a style element's contents cannot be escaped. Pictures have a white ground: dark pages
turn their lightness around and keep their hues."""

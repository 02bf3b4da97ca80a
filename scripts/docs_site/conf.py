"""How Sphinx builds the site from the pages that `stage.py` laid out. `make docs` hands over what differs by build."""

from __future__ import annotations

import html
import json
import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers.data import JsonLexer
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

HERE = Path(__file__).parent
BUILD = json.loads(os.environ["SLEEPWALKER_SITE"])

project = "sleepwalker"
author = "the sleepwalker authors"
version = release = BUILD["version"]

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "fieldlist"]
myst_heading_anchors = 6  # as the repository's host makes them, so that the same links hold in both places
myst_fence_as_directive = ["mermaid"]
exclude_patterns = ["files/**/*.py"]
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = "sleepwalker"
html_static_path = [str(HERE / "static"), BUILD["mermaid"]]
templates_path = [str(HERE / "templates")]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_favicon = str(HERE / "static" / "icon.svg")
html_extra_path = [BUILD["extra"]]
html_copy_source = False
html_show_copyright = False
html_show_sourcelink = False
html_last_updated_fmt = None
html_permalinks_icon = "#"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"
html_theme_options = {
    "top_of_page_buttons": ["edit"],
    "navigation_with_keys": True,
    "light_css_variables": {"color-brand-primary": "#4a4fc4", "color-brand-content": "#4a4fc4"},
    "dark_css_variables": {"color-brand-primary": "#a9adff", "color-brand-content": "#a9adff"},
}
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "versions.html",
        "search-box.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}


class Mermaid(SphinxDirective):
    """A drawing: its text goes into the page, where the script draws it in the colours of the reader's theme."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.content)
        title = re.search(r"^\s*accTitle: *(.+)$", text, re.MULTILINE)
        if title is None:
            raise self.error("A drawing needs a line `accTitle: ...`: its title, for those who cannot see it.")
        self.env.metadata[self.env.docname]["mermaid"] = True
        label = html.escape(title[1].strip())
        drawn = f'<pre class="mermaid" role="img" aria-label="{label}">{html.escape(text, quote=False)}</pre>'
        return [nodes.raw("", drawn, format="html")]


class NamedAnchors(SphinxTransform):
    """Links may lead to `<a id="name"></a>` as they do to a heading: so pages keep the old names of their parts."""

    default_priority = 800  # before MyST looks up where links within a page lead to

    def apply(self, **kwargs: Any) -> None:
        places = self.env.metadata[self.env.docname].setdefault("myst_slugs", {})
        for node in self.document.findall(nodes.raw):
            for name in re.findall(r'<a id="([^"]+)"', node.astext()):
                places.setdefault(name, (node.line or 0, name, name))
        self.document.myst_slugs = places  # type: ignore[attr-defined]


def _page(app: Sphinx, name: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    source = BUILD["sources"].get(name)
    context["edit_url"] = BUILD["edit"].format(path=source) if source and BUILD["edit"] else None
    # Furo's captions are headings of no level, which screen readers cannot place.
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')
    if app.env.metadata.get(name, {}).get("mermaid"):
        app.add_js_file("mermaid.js", priority=400, defer="defer")


def setup(app: Sphinx) -> None:
    app.add_directive("mermaid", Mermaid)
    app.add_transform(NamedAnchors)
    app.add_lexer("jsonl", JsonLexer)
    app.connect("html-page-context", _page, priority=900)  # after Furo's own

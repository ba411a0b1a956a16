"""The site of the documents, built by `make docs`: Sphinx with MyST's Markdown, and the theme Furo.

The source is the whole repository, of which the pages below are taken, so that links between README, docs/ and tests/
are the same on the site as on a code host. The reference of the modules is made by sphinx-autoapi, which reads the
code and does not import it. Nothing of the site is loaded from another host: no MathJax, no fonts, no search service.
"""

import tomllib
from pathlib import Path
from typing import Any

import mmdr
from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[1]

project = "poster-genres"
version = release = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
extensions = ["myst_parser", "sphinx.ext.napoleon", "autoapi.extension"]

# Pages: all others are other people's, or of a run.
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "docs/**",
    "data/README.md",
    "artifacts/README.md",
    "tests/benchmarks/ablation.md",
    "tests/benchmarks/gate.md",
]
# Folders that are not searched for pages.
exclude_patterns = [".*", "build", "mutants", "data/[!R]*", "artifacts/[!R]*"]

# Anchors as code hosts make them.
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]

# In docstrings `x` is code.
default_role = "code"
napoleon_use_ivar = True
autoapi_dirs = ["flows", "tasks"]
autoapi_root = "docs/modules"
# The commands have a page of their own, docs/commands.md.
autoapi_ignore = ["*/flows/cli.py", "*/flows/__main__.py"]
autoapi_options = ["members", "undoc-members", "show-module-summary"]
autoapi_add_toctree_entry = False
# Constants that are unpacked from a tuple are not found where they are imported.
suppress_warnings = ["autoapi.python_import_resolution"]

# Blocks without a language are output and formulas.
highlight_language = "text"

html_theme = "furo"
html_favicon = "_static/icon.svg"
html_title = project
html_static_path = ["_static"]
html_css_files, html_js_files = ["site.css"], ["site.js"]
templates_path = ["_templates"]
# The front door, which leads to docs/index.html.
html_additional_pages = {"index": "redirect.html"}
html_copy_source = False
html_show_copyright = False
html_theme_options = {"top_of_page_buttons": []}

# Of pages that have none: tables that a command writes, and what is said of a folder.
TITLES = {
    "tests/benchmarks/ablation": "What each part of the recipes adds",
    "tests/benchmarks/gate": "How often the gate is wrong",
    "data/README": "The folders of data/",
    "artifacts/README": "The folder artifacts/",
}


class Mermaid(SphinxDirective):
    """A diagram in Mermaid's language, drawn as SVG when the site is built; code hosts draw it in the browser."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        svg = mmdr.render("\n".join(self.content)).svg()
        # Its ids and styles begin with this name: each diagram of a page has its own.
        svg = svg.replace("merman", f"diagram-{self.env.new_serialno('mermaid')}")
        # Wide ones are scrolled, on phones and by keyboard.
        html = f'<div class="diagram" tabindex="0" role="region" aria-label="Diagram">{svg}</div>'
        return [nodes.raw("", html, format="html")]


def add_title(_: Sphinx, page: str, source: list[str]) -> None:
    """Puts the title above a page that has none."""
    if page in TITLES:
        source[0] = f"# {TITLES[page]}\n\n{source[0]}"


def setup(app: Sphinx) -> dict[str, Any]:
    """Adds what is this site's own."""
    app.connect("source-read", add_title)
    app.add_lexer("csv", TextLexer)  # which code hosts know, and Pygments does not
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""The files of a project's folder, which `poster-genres init` writes. Those of the checkout are links to them."""

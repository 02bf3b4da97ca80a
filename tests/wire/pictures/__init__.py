"""The pictures of the README and the docs, taken of real pages and terminals; `make pictures` writes them anew."""

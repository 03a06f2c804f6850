"""Writes what is made from the descriptors: openapi.yaml, gateway/openapi.json, gateway/docs.html, docs/api.md."""

from __future__ import annotations

import argparse
from pathlib import Path

from service.openapi.document import make_document
from service.openapi.page import render_page
from service.openapi.source import read_source
from service.openapi.tables import fill
from service.openapi.text import to_json, to_yaml


def main() -> None:
    """Write the files named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m service.openapi", description=__doc__)
    parser.add_argument("--descriptors", type=Path, required=True, help="descriptor set, with comments")
    parser.add_argument("--out", type=Path, required=True, help="folder of generated files")
    parser.add_argument("--tables", type=Path, help="Markdown file whose tables are made anew")
    arguments = parser.parse_args()
    document = make_document(read_source(arguments.descriptors.read_bytes()))
    (arguments.out / "openapi.yaml").write_text(to_yaml(document), encoding="utf-8")
    (arguments.out / "gateway" / "openapi.json").write_bytes(to_json(document))
    (arguments.out / "gateway" / "docs.html").write_text(render_page(document), encoding="utf-8")
    if arguments.tables is not None:
        text = arguments.tables.read_text(encoding="utf-8")
        arguments.tables.write_text(fill(text, document), encoding="utf-8")


if __name__ == "__main__":
    main()

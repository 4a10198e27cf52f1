"""Reference pages whose tables are held to the code."""

from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs/reference"


def rows(page: str) -> list[list[str]]:
    """Return the cells of every row of the page's tables, headings left out."""
    lines = (DOCS / page).read_text().splitlines()
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| `")]
    return [[cell.replace("`", "") for cell in row] for row in found]

"""The pages of documentation, and the blocks in them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lab import ROOT


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str = "") -> list[str]:
    """Return what stands between the fences of a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def lines(block: str, sent: str, received: str) -> Iterator[tuple[bool, str]]:
    """Yield the frames of an example, each with whether the client sends it."""
    for line in block.splitlines():
        if line.startswith((sent, received)):
            yield line.startswith(sent), line[len(sent) :]

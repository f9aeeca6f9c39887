"""Links of a page to files of the repository that are no pages, for the site.

``[records](../benchmarks/results/x.jsonl)`` works where the repository is shown; a site has no such file.
With MIXED_R1_REPOSITORY, the address under which the repository's files are shown, such a link leads there,
else it becomes the path as text. A file that does not exist ends the build.
"""

from __future__ import annotations

import os
import re
from typing import Any

LINK = re.compile(r"\[([^\]]*)\]\(\.\./([\w./-]+)\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    address = os.environ.get("MIXED_R1_REPOSITORY", "").rstrip("/")

    def outside(match: re.Match[str]) -> str:
        text, path = match.groups()
        if not os.path.exists(path):
            raise FileNotFoundError(f"a page must link to files that exist, got ../{path}")
        return f"[{text}]({address}/{path})" if address else f"{text} (`{path}`)"

    return LINK.sub(outside, markdown)

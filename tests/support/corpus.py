"""Files in several languages, and an index of them."""

from pathlib import Path

from search_service.adapters.local_index_store import IndexWriter
from search_service.adapters.local_indexer import Changes, Indexer

FILES = {
    "ports.md": (
        "# Ports\n\nAll services listen on the loopback address.\n\n## Gateway\n\nThe gateway listens on port 50051. "
        "It is the only port that callers need.\n\n## Search\n\nThe search service listens on port 50052.\n"
    ),
    "engine.md": (
        "# The engine\n\nRequests are batched continuously. New requests join between two steps.\r\n\r\n"
        "## Cancelling\r\n\r\nA cancelled request frees its slot before the next step.\r\n"
    ),
    "page.html": (
        "<html><head><title>Coffee</title></head><body><nav>zebra crossing</nav><h1>Brewing coffee</h1>"
        "<p>Water of 94 degrees brews the best coffee. Grind the beans just before.</p></body></html>"
    ),
    "notes/cafe.txt": "The café opens at nine. Naïve visitors come at eight.",
    "ko/seoul.md": (
        "# 서울\n\n대한민국의 수도는 서울이다. 서울에서 부산까지는 기차로 세 시간이 걸린다.\n\n"
        "## 강\n\n한강은 서울을 가로질러 흐른다.\n"
    ),
    "ko/kimchi.md": "# 김치\n\n김치는 배추와 고춧가루로 담근다. 겨울에는 김장을 한다.\n",
    "ja/tokyo.md": "# 東京\n\n東京は日本の首都である。人口は約千四百万人である。\n\n大阪は西日本の都市である。\n",
    "zh/beijing.md": "# 北京\n\n北京是中国的首都。长城离北京不远。\n\n上海是最大的城市。\n",
}


def write_files(folder: Path, files: dict[str, str] | None = None) -> Path:
    """Write the files into the folder, which it makes, and return it."""
    for name, text in (FILES if files is None else files).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    return folder


def index_files(index_path: Path, *paths: Path) -> Changes:
    """Add the paths to the index as `groundwire index add` does."""
    changes = Changes()
    with IndexWriter(index_path) as writer:
        for path in paths:
            changes += Indexer(writer).add(path)
    return changes

"""Documents of an index at one point in time, page by page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

ALIVE = "5m"  # how long a page may take to be worked on


def pages(
    client: Elasticsearch, index: str, size: int, sort: list[Any], *, limit: int | None = None, **search: Any
) -> Iterator[list[dict[str, Any]]]:
    """Hits, `size` at most in a page, none of them empty; `limit`: so many in all. `search`: what else the request says
    (`query`, `source`, …). Raises what the client raises; a shard that does not answer is no fewer documents."""
    pit = client.open_point_in_time(index=index, keep_alive=ALIVE)["id"]
    after: list[Any] | None = None
    left = limit
    try:
        while left is None or left > 0:
            wanted = size if left is None else min(size, left)
            answer = client.search(
                pit={"id": pit, "keep_alive": ALIVE},
                size=wanted,
                sort=sort,
                search_after=after,
                track_total_hits=False,
                allow_partial_search_results=False,
                **search,
            )
            hits = answer["hits"]["hits"]
            pit = answer.get("pit_id", pit)
            if hits:
                yield hits
            if len(hits) < wanted:
                return
            after = hits[-1]["sort"]
            left = None if left is None else left - len(hits)
    finally:
        client.options(ignore_status=404).close_point_in_time(id=pit)

"""What a plan is drawn from, and the pairs that it collects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from components.contracts.catalog import Item
from components.contracts.files import sha256_bytes
from components.contracts.taxonomy import Taxonomy
from components.human_eval.answers import Answer, Result
from components.human_eval.plan import Pair

UNKNOWN_DEPARTMENT = "unknown"


@dataclass(frozen=True)
class Binding:
    """What a campaign is about; another one of these is another campaign.

    Attributes:
        version: The candidate.
        manifest_digest: SHA-256 of its manifest.
        incumbent: What it is compared with; empty when there is none.
        incumbent_digest: SHA-256 of that manifest; empty when there is none.
    """

    version: str
    manifest_digest: str
    incumbent: str
    incumbent_digest: str


@dataclass(frozen=True)
class Shop:
    """What sampling needs to know of the catalog.

    Attributes:
        items: The checked catalog.
        taxonomy: Its tree.
    """

    items: Sequence[Item]
    taxonomy: Taxonomy

    def department(self, taxon_id: str) -> str:
        """Returns the department's id, `unknown` for the root and for what is not in the tree."""
        if taxon_id not in self.taxonomy or taxon_id == self.taxonomy.root:
            return UNKNOWN_DEPARTMENT
        return self.taxonomy.department(taxon_id)


def image_name(content_hash: str, uri: str) -> str:
    """Returns the path of an image's copy in the campaign: its content's hash, no file name."""
    _, dot, suffix = uri.rpartition("/")[2].rpartition(".")
    kept = f".{suffix.lower()}" if dot and suffix.isalnum() and len(suffix) <= 4 else ""
    return f"images/{stem_of(content_hash)}{kept}"


def stem_of(content_hash: str) -> str:
    """Returns as much of a content hash as file names in a campaign hold: 128 bits."""
    return content_hash[:32]


class PairBook:
    """The pairs so far: the same two images are one task, whoever asks for them.

    Attributes:
        pairs: By task id.
        images: Where to copy each image from, by its path in the campaign.
        made: Images that are in no shop, by path.
    """

    def __init__(
        self, binding: Binding, strata: Mapping[str, str], departments: Mapping[str, str]
    ) -> None:
        self._salt = f"{binding.manifest_digest}:{binding.incumbent_digest}"
        self._strata = strata
        self._departments = departments
        self.pairs: dict[str, Pair] = {}
        self.images: dict[str, str] = {}
        self.made: dict[str, bytes] = {}

    def key(self, query: Answer, result: Result) -> str:
        """Returns the task id: it says nothing to those who do not know the salt."""
        text = f"{self._salt}:{query.content_hash}:{result.content_hash}"
        return sha256_bytes(text.encode())[:16]

    def add(
        self,
        query: Answer,
        result: Result,
        side: str,
        gold: int | None = None,
        source: str = "",
        data: bytes | None = None,
    ) -> str:
        """Adds a pair unless it is there; returns its task id.

        Args:
            query: The query.
            result: The result.
            side: `candidate` or `incumbent`.
            gold: The known grade of a gold.
            source: Where the gold comes from.
            data: The result's image, when it was made for the campaign and is in no shop.
        """
        task_id = self.key(query, result)
        if task_id not in self.pairs:
            query_image = image_name(query.content_hash, query.image)
            result_image = image_name(result.content_hash, result.image)
            self.images[query_image] = query.image
            if data is None:
                self.images[result_image] = result.image
            else:
                self.made[result_image] = data
            stratum = self._strata[self._departments[query.query_id]]
            self.pairs[task_id] = Pair(
                task_id,
                query.query_id,
                result.item_id,
                query_image,
                result_image,
                stratum,
                side,
                gold,
                source,
            )
        return task_id

"""What an asset's page in Dagster's UI says besides its events: description, columns, owners, docs, tags.

Belongs here: how that is put, for the assets of all rooms. Does not belong here: what an asset is, which
stands at its declaration, and freshness, which is a check (`freshness.py`).
"""

import re
from collections.abc import Iterable, Mapping

from dagster import AssetsDefinition, AssetSpec, MetadataValue, TableColumn, TableSchema

from health_pipelines.landing.run_tags import of_table
from health_pipelines.settings import Settings

# The page of `docs/` about an asset, in its declaration.
DOCS = "docs"
LINEAGE_ABOUT = {
    "_partition_date": "The day that was asked for; added by this project.",
    "_report_id": "What brought the row: a report, a list or a query; added by this project.",
    "_extracted_at": "When the row was read from the vendor; added by this project.",
}
# How a model's header calls a fact, and how its page does.
_FACTS = {
    "Grain": "A row is",
    "Key": "Key",
    "Source": "Made of",
    "Kept as": "Kept as",
    "Counted": "Counted",
    "Left out": "Left out",
}
# Tables, columns and settings among words.
_NAMES = re.compile(
    r"(?<![`\w./])((?:current|marts|dexcare|drchrono)\.[a-z_]+|[a-z]+(?:_[a-z0-9]+)+|[A-Z]+(?:_[A-Z]+)+)\b"
)


def described(what: str, facts: Mapping[str, str], *paragraphs: str) -> str:
    """In Markdown: what it is, a list of facts by their names, and more paragraphs."""
    lines = "\n".join(f"- **{name}**: {_code(fact)}" for name, fact in facts.items())
    return "\n\n".join([_code(what), lines, *map(_code, paragraphs)])


def described_model(description: str, more: Mapping[str, str]) -> str:
    """The same of a model's header, whose lines are `Grain: …`, `Key: …` and so on among others.

    `more`: facts that are not in the header.
    """
    what, *lines = description.splitlines()
    facts: dict[str, str] = {}
    words: list[str] = []
    fact = ""
    for line in lines:
        name, found, rest = line.partition(": ")
        if found and name in _FACTS:
            fact = _FACTS[name]
            facts[fact] = rest
        elif fact:
            facts[fact] += f" {line}"
        else:
            words.append(line)
        # A fact that takes more than a line ends with the line that ends with a full stop.
        if line.endswith("."):
            fact = ""
    in_order = {name: facts[name] for name in _FACTS.values() if name in facts}
    return described(what, in_order | dict(more), *([" ".join(words)] if words else []))


def columns(schema: Iterable[tuple[str, str, str | None]]) -> TableSchema:
    """From names, types and meanings."""
    return TableSchema([TableColumn(name, kind, about) for name, kind, about in schema])


def with_page(asset: AssetsDefinition, settings: Settings) -> AssetsDefinition:
    """The asset with its owners, its tags, and a link to its page if somebody said where pages are.

    Raises `SettingError`.
    """
    return asset.map_asset_specs(lambda spec: _with_page(spec, settings))


def _with_page(spec: AssetSpec, settings: Settings) -> AssetSpec:
    page, url = spec.metadata.get(DOCS), settings.docs_url
    told = spec.merge_attributes(
        owners=list(settings.owners),
        # An asset may say itself whose table it brings.
        tags=of_table(spec.group_name or "", spec.key.path[-1]) if not _has_table(spec) else {},
    )
    if not page:
        return told
    if not url:
        return told.merge_attributes(metadata={DOCS: f"docs/{page}"})
    link = f"{url}/{page}"
    return told.merge_attributes(metadata={DOCS: MetadataValue.url(link)}).replace_attributes(
        description=f"{spec.description}\n\n[More about it]({link})"
    )


def _has_table(spec: AssetSpec) -> bool:
    return any(tag.startswith("table/") for tag in spec.tags)


def _code(text: str) -> str:
    return _NAMES.sub(r"`\1`", text)

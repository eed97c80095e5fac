"""CSV as AWS Athena writes it, whose words the vendor's statuses are borrowed from (guess).

UTF-8, a header row, every value in double quotes, a quote doubled, line breaks left inside the quotes.
NULL is nothing at all between the commas, an empty string is `""`. Lines end with `\\n`, the last one too.
"""

from collections.abc import Iterable

NULL = ""
"""How Athena writes NULL."""


def csv_line(values: Iterable[str | None], null: str = NULL) -> str:
    """One record with its line end; `null`: what stands between the commas for NULL."""
    return (
        ",".join([null if value is None else '"' + value.replace('"', '""') + '"' for value in values]) + "\n"
    )

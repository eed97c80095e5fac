"""The warehouse: the DuckDB file that people query, derived from the lake and disposable."""

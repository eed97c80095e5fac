"""Tests of the DuckDB file that people query: what it shows, and that nobody can be in its way."""

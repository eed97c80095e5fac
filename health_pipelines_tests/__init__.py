"""Tests, laid out as the package is; each test is a sentence that can be false."""

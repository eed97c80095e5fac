"""Tests of what knows DrChrono."""

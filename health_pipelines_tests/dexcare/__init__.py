"""Tests of what knows DexCare, against the sandbox over real HTTP."""

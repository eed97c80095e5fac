"""Tests of the commands, started as a person starts them."""

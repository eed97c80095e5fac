"""Telling people when something is wrong: what there is to tell, how it is put, and how it gets to them."""

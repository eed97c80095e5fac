"""The lake: where a partition lives, how it is replaced, and how a vendor's bytes become one, with proof."""

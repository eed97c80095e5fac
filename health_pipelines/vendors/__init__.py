"""Which vendors there are."""

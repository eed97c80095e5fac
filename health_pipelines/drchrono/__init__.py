"""DrChrono's bulk lists: what is asked for, how it is proven whole, and how it lands."""

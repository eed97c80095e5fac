"""Reading a bulk list to its end: which pages, what was read so far, and the proof that nothing slipped."""

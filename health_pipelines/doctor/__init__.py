"""What is wrong with an installation, and what to do: a small check for each thing that can be."""

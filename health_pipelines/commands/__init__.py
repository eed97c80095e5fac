"""The commands of `health-pipelines`: what a person at a terminal starts.

Belongs here: starting, watching and stopping processes, and what is printed. Does not belong here: anything
that a run, a sensor or a schedule needs; nothing outside this package imports it.
"""

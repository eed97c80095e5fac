"""A stand-in for the vendors on loopback, as strict as their documents and as nasty as their bad days.

Here belongs whatever imitates a vendor: synthetic visits, the life of a report, the HTTP surface, faults on
demand. DrChrono is in `drchrono/`; DexCare, and what both need, are beside it. Nothing here imports the rest
of `health_pipelines`, and nothing of the pipeline imports this: the two meet over HTTP only, so that a shared
misreading of a vendor's page cannot hide in shared code.

Start it with `python -m health_pipelines.sandbox --port 0`. Nobody in it is real.
"""

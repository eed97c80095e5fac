"""Learning a tenant's ways: what is asked, within how many calls, what was found, and where that is written.

Belongs here: the form of questions and findings, the limit of calls, the written result. Does not belong
here: any vendor's question (each vendor's own `probe/`), and what people see (`commands/probe.py`).
"""

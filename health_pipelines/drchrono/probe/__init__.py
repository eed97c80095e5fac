"""What is asked of DrChrono to learn which assumptions hold for one account, and what follows.

Belongs here: the questions and the decisions. Does not belong here: the form of a question and a finding
(`probe/`), and the calls (`drchrono/api/client.py`).
"""

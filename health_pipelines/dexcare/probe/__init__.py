"""What is asked of DexCare to learn which assumptions hold at one tenant, and what follows from the answers.

Belongs here: the questions to its two APIs, and the decisions. Does not belong here: the form of a question
and a finding (`probe/`), and the calls (`dexcare/visits/client.py`, `dexcare/histories/client.py`).
"""

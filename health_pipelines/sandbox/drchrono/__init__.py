"""A stand-in for DrChrono: bulk lists, deletions of line items, tokens and the quota.

Here belongs what imitates DrChrono only. What every imitated vendor needs (clock, faults, gate, the wire) is
one package up. Nobody in it is real.
"""

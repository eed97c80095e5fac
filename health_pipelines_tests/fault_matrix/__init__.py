"""Every vendor call and every fault: what comes of it (`table.py`), tried over HTTP (`test_matrix.py`)."""

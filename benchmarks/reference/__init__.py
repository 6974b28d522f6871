"""A reference ledger of random trials: what samplers, pruners and defaults of the search are judged on.

`make.py` trains them, `reference.parquet` holds them, and `ledger.py` reads it.
"""

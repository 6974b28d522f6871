"""The engine: plan, search, trials, workers, ledger and command line. The only importer of Ray."""

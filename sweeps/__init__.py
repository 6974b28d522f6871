"""The sweeper: configuration, search, trials, execution on Ray, ledger and command line."""

"""Tables and figures of what sweeps found. Reads ledgers and nothing else; loads neither torch nor Ray.

`reports.report` makes and writes a whole report; loading it takes matplotlib along. Nothing is loaded here, so that
`reports.processes` is there at once.
"""

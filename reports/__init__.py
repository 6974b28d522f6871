"""Tables and figures of the results of sweeps, from their ledgers; loads neither torch nor Ray.

`reports.report` computes and writes a whole report. The folders below it stand on three floors: `statistics` turns
records into frames of numbers, `figures` draws frames, `output` makes tables and the page. This package itself loads
nothing, so that `reports.processes` loads fast.
"""

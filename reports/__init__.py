"""Tables and figures of the results of sweeps, from their ledgers; loads neither torch nor Ray.

`reports.report` computes a whole report, and `reports.writing` writes it. The folders below them stand on three floors:
`statistics` turns records into frames of numbers, `figures` draws frames, `output` makes tables and the page. This
package itself loads nothing, so that `reports.processes` loads fast.
"""

EQUIVALENT = 0.01
"""The largest difference between two methods' scores that does not matter, unless the user says another."""

"""The joint sampler: one model of all searches of a sweep, which proposes for each of them in its turn.

Seven loss subsets have most of their hyperparameters in common, and a configuration's rank in one subset says much
about its rank in another. So the trials of all arms train one Gaussian process. Its inputs are the hyperparameters and
what tells arms apart: which losses are on, above all. Each arm still has a study, a budget and turns of its own.

`observations` says what trials teach, `encoding` turns configurations into points, `surrogate` is the Gaussian
process, and `proposals` chooses a configuration. Nothing here knows Optuna or a sweep's folder.

The package hands on nothing: `observations` loads without scipy, which a search with another sampler does not need.
"""

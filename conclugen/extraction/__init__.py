"""Turn clips into feature vectors: frozen backbones are applied block by block and averaged over time.

The package has decoding, face crops, augmented versions, the backbones and the folder in which an extraction grows.
Nothing here uses Ray: sweeps/extraction/pipeline.py spreads the work over machines. Importing the package loads no
heavy library.
"""

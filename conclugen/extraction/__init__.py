"""Clips to feature vectors: frozen backbones, applied block by block, averaged over time.

Decoding, face crops, augmented versions, the backbones themselves and the folder that an extraction grows in. How the
work is spread over machines is decided elsewhere (sweeps/extraction/pipeline.py): nothing here knows of Ray. Importing
this package loads no heavy library.
"""

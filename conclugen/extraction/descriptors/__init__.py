"""Descriptors: backbones that compute their vectors by fixed formulas, or with weights that lie in a package.

A descriptor downloads nothing and needs no GPU. Its vectors are computed where clips are decoded, so no process of its
own has to start. :mod:`conclugen.extraction.descriptors.catalogue` names them. Importing the package loads no library.
"""

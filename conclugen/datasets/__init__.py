"""Datasets as they are published, each read by one module: folder and label files in, clips out.

A reader is a function of the folder alone: the same files give the same list, wherever and in whatever order the file
system names them. It looks at names and annotations, never into a video, which is extraction's part.
"""

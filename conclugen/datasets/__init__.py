"""Read published datasets, one module each: a dataset's folder and label files in, clips out.

A reader depends on the folder alone: the same files give the same list, wherever they lie and in whatever order the
file system names them. It reads names and annotations, but opens no video, which is the task of extraction.
"""

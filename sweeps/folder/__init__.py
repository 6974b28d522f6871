"""The files of a sweep's folder, and the rules that let a sweep resume from them."""

"""Studies: the one place where the sciences, the lab and the shell meet."""

import os

# LAPACK on CPUs is SciPy's OpenBLAS. Its threads wait on each other where every core is a device:
# a solve of 64 equations takes 0.03 ms with one and 16 ms with two. Read when SciPy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

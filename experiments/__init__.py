"""Studies: the one place where the sciences, the lab and the shell meet."""

import os

# NumPy's OpenBLAS: its threads wait on each other where the cores are busy, with devices or with
# compiling. The singular values of 256 × 64 outputs, of which the study of plasticity takes one set
# a task, take 0.4 ms with one thread and more than 30 ms with two. Read when NumPy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

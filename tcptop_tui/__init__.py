"""A live dashboard of every TCP connection of the host: htop for TCP."""

import os

__version__ = "0.1.0"

# OpenBLAS, which nothing here uses, starts its threads when numpy is imported; capabilities are given up
# thread by thread, and each by itself: those would keep all of them.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

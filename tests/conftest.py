"""What all tests share: threads of OpenMP wait asleep, as in the program, so that tests keep their pace.

Where pytest-xdist runs files side by side, each worker computes on one thread.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

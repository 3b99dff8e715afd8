"""What all tests share: threads of OpenMP wait asleep, as in the program, so that tests keep their pace."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is

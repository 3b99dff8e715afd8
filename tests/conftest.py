"""What all tests share: OpenMP's threads wait asleep, as in the program, so that tests keep their pace beside others."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported

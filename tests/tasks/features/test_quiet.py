import os

import pytest

from tasks.features.quiet import quiet_native_code


def test_only_output_of_the_block_is_lost(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before ")
    with pytest.raises(KeyError), quiet_native_code():
        os.write(2, b"inside ")
        raise KeyError
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"

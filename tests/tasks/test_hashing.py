from pathlib import Path

from tasks.hashing import describe_file, find_damage, hash_file


def test_hash_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert hash_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_differs_from_the_description_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("aa")
    described = describe_file(path)
    assert find_damage(path, described) == ""
    path.write_text("ab")
    assert find_damage(path, described, with_hash=False) == ""
    changed = "is damaged (its sha256 is another than when it was written)"
    assert find_damage(path, described) == changed
    assert find_damage(path, {"sha256": described["sha256"]}) == changed  # as earlier versions described it
    path.write_text("a" * 1000)
    assert find_damage(path, described) == "is damaged (1,000 bytes, expected 2)"
    path.unlink()
    assert find_damage(path, described) == "is missing"

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.web.addresses import AddressError, check_address, is_public, redact


@pytest.mark.parametrize(
    "ip",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
        *("169.254.169.254", "168.63.129.16", "224.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1"),
        *("::", "::1", "::7f00:1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
        *("2002:7f00:1::", "2002:a9fe:a9fe::", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "4000::1"),
    ],
)
def test_private_addresses(ip: str) -> None:
    assert not is_public(ip)


@pytest.mark.parametrize(
    "ip", ["8.8.8.8", "151.101.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"]
)
def test_public_addresses(ip: str) -> None:
    assert is_public(ip)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://", "bad address"),
        ("http://[::1/x", "bad address"),
        ("http://host:99999/x", "bad address"),
        ("no address", "bad address"),
        ("ftp://example.org/x", "address not http(s)"),
        ("file:///etc/passwd", "address not http(s)"),
        ("http://user@example.org/x", "address with credentials"),
        ("http://user:secret@example.org/x", "address with credentials"),
        ("http://127.0.0.1/x", "private address"),
        ("http://[::1]:8000/x", "private address"),
        ("http://[::ffff:10.0.0.1]/x", "private address"),
        ("http://169.254.169.254/latest/meta-data", "private address"),
        ("http://2130706433/x", "private address"),
        ("http://0x7f.1/x", "private address"),
        ("http://017700000001/x", "private address"),
        ("http://127.1/x", "private address"),
        ("http://①②⑦.0.0.1/x", "private address"),
        ("http://LocalHost./x", "private address"),
        ("http://metadata.google.internal/x", "private address"),
        ("http://printer.local/x", "private address"),
    ],
)
def test_refused_addresses(address: str, reason: str) -> None:
    with pytest.raises(AddressError) as raised:
        check_address(address)
    assert raised.value.reason == reason


def test_accepted_addresses() -> None:
    assert check_address("https://example.org/a.jpg?x=1").host == "example.org"
    assert check_address("http://127.0.0.1:8000/x", ["localhost", "127.0.0.1"]).port == 8000
    assert check_address("http://[::1]/x", ["[::1]"]).host == "::1"


@given(st.text(max_size=60) | st.text("http:/[]@.0123456789abcdefx%?#", max_size=40).map("http://".__add__))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    # Any other exception fails the test.
    with contextlib.suppress(AddressError):
        url = check_address(text)
        assert (url.scheme in ("http", "https"), bool(url.host)) == (True, True)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("from https://user:secret@host/a.csv: no", "from https://***@host/a.csv: no"),
        ("s3://key:secret@bucket/a", "s3://***@bucket/a"),
        ("https://host/a?X-Amz-Signature=abc&b=2#top", "https://host/a?X-Amz-Signature=***&b=***#top"),
        ("https://host/a?abc", "https://host/a?***"),
        ("https://host?token=a b", "https://host?token=*** b"),
        ("'https://a@b/c' and (https://host/x)", "'https://***@b/c' and (https://host/x)"),
        ("https://host/a", "https://host/a"),
        ("a@b?c=d", "a@b?c=d"),
    ],
)
def test_secrets_are_not_shown(text: str, redacted: str) -> None:
    assert redact(text) == redacted

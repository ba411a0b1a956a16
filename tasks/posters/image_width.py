"""Ask IMDB's image server for a poster of another width, by the size that the catalog's address carries."""

import re
from collections.abc import Mapping
from typing import Any

# Of `..._V1_UX182_CR0,0,182,268_AL_.jpg`: scaled to a width (UX) or a height (UY), then cut to x, y, width, height.
_SIZE = re.compile(r"(?<=\._V1_)(?P<side>U[XY])(?P<scaled>\d+)_CR(?P<box>\d+,\d+,\d+,\d+)(?=_)")


def request_width(film: Mapping[str, Any], width: int) -> Mapping[str, Any]:
    """Returns a film with the address of its poster in a width, and the catalog's own as `fallback_url`.

    Args:
        film: Film with `poster_url`; returned as it is if that carries no size.
        width: Width in pixels.
    """
    address = resize_address(film["poster_url"], width)
    return (
        film if address == film["poster_url"] else {**film, "poster_url": address, "fallback_url": film["poster_url"]}
    )


def resize_address(address: str, width: int) -> str:
    """Returns the address of the same part of a poster in another width; an address without a size as it is."""

    def resize(match: re.Match[str]) -> str:
        box = [int(number) for number in match["box"].split(",")]
        if not box[2]:
            return match[0]
        factor = width / box[2]
        scaled = ",".join(str(round(number * factor)) for number in box)
        return f"{match['side']}{round(int(match['scaled']) * factor)}_CR{scaled}"

    return _SIZE.sub(resize, address)

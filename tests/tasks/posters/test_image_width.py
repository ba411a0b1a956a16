import pytest

from tasks.posters.image_width import request_width, resize_address

HOST = "https://images-na.ssl-images-amazon.com/images/M/MV5BMTI@"


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        # Twice as wide; 268 * 364 / 182 = 536.
        ("UX182_CR0,0,182,268_AL_", "UX364_CR0,0,364,536_AL_"),
        # Scaled by the height, and cut to the width from the third pixel on.
        ("UY268_CR3,0,182,268_AL_", "UY536_CR6,0,364,536_AL_"),
        ("UX91_CR0,0,91,134_AL_", "UX364_CR0,0,364,536_AL_"),
    ],
)
def test_sizes_worked_by_hand(size: str, resized: str) -> None:
    assert resize_address(f"{HOST}._V1_{size}.jpg", 364) == f"{HOST}._V1_{resized}.jpg"


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1/posters/1.jpg", f"{HOST}._V1_.jpg", f"{HOST}._V1_UX0_CR0,0,0,0_AL_.jpg", "", "UX182_CR0"],
)
def test_an_address_without_a_size_stays(address: str) -> None:
    assert resize_address(address, 364) == address
    film = {"imdb_id": 1, "poster_url": address}
    assert request_width(film, 364) == film


def test_the_catalogs_address_is_kept() -> None:
    film = {"imdb_id": 1, "poster_url": f"{HOST}._V1_UX182_CR0,0,182,268_AL_.jpg"}
    assert request_width(film, 182) == film
    resized = request_width(film, 300)
    assert resized == {
        "imdb_id": 1,
        "poster_url": f"{HOST}._V1_UX300_CR0,0,300,442_AL_.jpg",
        "fallback_url": film["poster_url"],
    }

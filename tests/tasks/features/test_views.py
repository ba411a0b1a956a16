from hypothesis import given
from hypothesis import strategies as st

from tasks.features.views import MAX_VIEWS, Views, locate_view

SIZES = st.tuples(st.integers(3, 32), st.integers(3, 32)).map(lambda size: (size[0] * 32, size[1] * 32))


def test_a_crop_is_worked_by_hand() -> None:
    # The second numbers of the sequence are 1/4, 2/3, 2/5: sides of 0.6 + 0.35 / 4 of the poster's, 147.125 and 61.875
    # pixels; of 68 places from the top the one at two thirds, of 29 from the left that at two fifths.
    assert locate_view(1, (214, 90)) == ((45, 11, 147, 62), True)
    # The third are 3/4, 1/9, 3/5: 184.575 and 77.625 pixels, 30 and 13 places.
    assert locate_view(2, (214, 90)) == ((3, 7, 185, 78), False)


def test_the_first_view_is_the_poster() -> None:
    assert locate_view(0, (384, 256)) == ((0, 0, 384, 256), False)


@given(SIZES)
def test_every_view_shows_a_part_of_its_own(size: tuple[int, int]) -> None:
    views = [locate_view(view, size) for view in range(MAX_VIEWS)]
    assert len(set(views)) == MAX_VIEWS
    for (top, left, height, width), _ in views[1:]:
        assert 0 <= top <= size[0] - height
        assert 0 <= left <= size[1] - width
        for side, whole in zip((height, width), size, strict=True):
            assert 0.6 * whole - 1 <= side <= 0.95 * whole + 1


def test_training_films_have_more_views() -> None:
    views = Views(train=8, predicted=2)
    assert [views.count(split) for split in ("train", "validation", "test")] == [8, 2, 2]

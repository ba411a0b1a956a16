import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.catalog import records
from tasks.catalog.reading import COLUMNS
from tasks.catalog.records import find_header_end, name_row, scan_records
from tasks.errors import CatalogError

INDICES = {name: index for index, name in enumerate(COLUMNS)}
HEADER = ",".join(COLUMNS) + "\n"


def make_catalog(num_rows: int, **titles: str) -> bytes:
    """Returns a catalog in which row `n`, of line n + 1, has the title of the argument `row_n`."""
    rows = [
        f"{number},http://x/tt{number},{titles.get(f'row_{number}', 'Film (1999)')},6.5,Drama,http://x/{number}.jpg\n"
        for number in range(1, num_rows + 1)
    ]
    return (HEADER + "".join(rows)).encode()


def scan(content: bytes) -> records.Records:
    return scan_records(content, len(HEADER), INDICES, len(COLUMNS), "films.csv")


@pytest.fixture(params=[1, 2, 7, 100, 1 << 20])
def chunk_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_CHUNK_BYTES", request.param)


@pytest.mark.parametrize(
    ("titles", "row", "problem"),
    [
        ({"row_5": '"Broken (1999)'}, "row 6", "the file ends within the field"),
        ({"row_3": '"Fine,\nthis"', "row_5": '"Broken'}, r"row 7 \(record 6\)", "the file ends within the field"),
        ({"row_5": '"Broken', "row_9": '"Nine, the"'}, "row 6", r"the next quote, in row 10 \(record 6\), is within"),
        ({"row_5": '"Broken', "row_9": '", and after"'}, "row 6", "takes in values of other columns, in line 6"),
        ({"row_5": '"Broken', "row_6": 'Six"'}, "row 6", "takes in values of other columns, in line 6"),
        ({"row_5": '"Broken,', "row_6": 'Six"'}, "row 6", "takes in values of other columns, in line 7"),
        ({"row_5": '"Broken,', "row_6": "Six, the", "row_8": 'E"'}, "row 6", "of other columns, in line 8"),
    ],
)
@pytest.mark.usefixtures("chunk_bytes")
def test_unbalanced_quotes(titles: dict[str, str], row: str, problem: str) -> None:
    with pytest.raises(CatalogError, match=rf"^films.csv, {row}: unbalanced quote at '\"Broken.*: .*{problem}"):
        scan(make_catalog(12, **titles))


@pytest.mark.parametrize(
    "title",
    [
        '"Alien" (1979)',
        'The "Great" One',
        '"a\nb"',
        '"a, b, c, d\r\n, e, f"',
        '"The ""Great\n"" one"',
        '"\n\n"',
        '""',
        '6"',
        "a\\",
    ],
)
@pytest.mark.usefixtures("chunk_bytes")
def test_titles_with_quotes_and_line_ends(title: str) -> None:
    found = scan(make_catalog(4, row_2=title))
    assert (found.number, found.num_malformed) == (4, 0)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("imdbId,Poster,Plot", '1,http://x/1.jpg,"In a world, far\naway, and so on"'),
        ("imdbId,Poster,Plot,Language", '1,http://x/1.jpg,"In a world, far\naway",en'),
        ("Plot,imdbId,Poster", '"In a\nworld, far, away",1,http://x/1.jpg'),
        ("Plot,imdbId,Poster", '"In a\nworld",1,http://x/1.jpg'),
        ("Poster,Plot", 'http://x/1.jpg,"a\nb, c\nd, e"'),
        ("Poster", '"http://x/1.jpg\n"'),
    ],
)
def test_other_columns_with_line_ends(header: str, row: str) -> None:
    names = header.split(",")
    content = f"{header}\n{row}\n{row}\n".encode()
    indices = {name: names.index(name) for name in names}
    assert scan_records(content, len(header) + 1, indices, len(names), "films.csv").number == 2


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("cut", ["13,http://x/tt13", "13,l,t,6.5,Drama", "1"])
def test_a_last_row_that_is_cut_short(cut: str, line_end: str) -> None:
    content = (make_catalog(12).decode() + cut).replace("\n", line_end).encode()
    start = find_header_end(content)
    assert start == len(HEADER) - 1 + len(line_end)
    number = cut.count(",") + 1
    with pytest.raises(
        CatalogError, match=f"^films.csv, row 14: the file ends within this row, .* {number} of 6 fields"
    ):
        scan_records(content, start, INDICES, len(COLUMNS), "films.csv")


@pytest.mark.parametrize(
    ("end", "expected"), [("13,l,t,6,g,p", (13, 0, ())), ("   ", (13, 1, (14,))), ("1,l,t,6,g,p,x", (13, 1, (14,)))]
)
def test_last_rows_without_a_line_end(end: str, expected: tuple[int, int, tuple[int, ...]]) -> None:
    found = scan(make_catalog(12) + end.encode())
    assert (found.number, found.num_malformed, found.malformed_lines) == expected


@pytest.mark.usefixtures("chunk_bytes")
def test_malformed_rows_are_named_by_their_lines() -> None:
    found = scan(make_catalog(30, row_2='"a\nb"', row_3="a,b", row_4='"a\n\nb",c', row_20="x\ny") + b"\n\r\n")
    # Row 20 is two short ones.
    assert (found.number, found.num_malformed, found.malformed_lines) == (31, 4, (5, 6, 24, 25))


def test_row_names() -> None:
    content = b'a,b\n1,"x\n"\n\n2,y\n'
    assert [name_row(content, content.index(value)) for value in (b"b", b"1", b"x", b"2")] == [
        "row 1",
        "row 2",
        "row 2",
        "row 5 (record 3)",
    ]


@settings(deadline=None)
@given(
    rows=st.lists(st.lists(st.text(st.sampled_from('a",\n\r')), min_size=1, max_size=4)),
    # Python 3.11 quotes only the characters of its own line end where it quotes what must be.
    dialect=st.sampled_from(
        [(csv.QUOTE_ALL, "\n"), (csv.QUOTE_ALL, "\r\n"), (csv.QUOTE_ALL, "\r"), (csv.QUOTE_MINIMAL, "\r\n")]
    ),
    chunk_bytes=st.integers(1, 20),
)
def test_numbers_of_fields_as_python_wrote_them(
    rows: list[list[str]], dialect: tuple[int, str], chunk_bytes: int
) -> None:
    text = io.StringIO()
    quoting, line_end = dialect
    csv.writer(text, quoting=quoting, lineterminator=line_end).writerows([["a", "b"], *rows])
    content = text.getvalue().encode()
    start = find_header_end(content)
    assert start is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_CHUNK_BYTES", chunk_bytes)
        found = scan_records(content, start, {}, 2, "films.csv")
    assert (found.number, found.num_malformed) == (len(rows), sum(len(row) != 2 for row in rows))

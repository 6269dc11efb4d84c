import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from supermasks.datasets import read_idx, write_idx
from supermasks.datasets.images.idx import format_idx, parse_idx
from supermasks.errors import DataUnavailableError, InputError

DTYPES = st.sampled_from(["u1", "i1", "<i2", ">i2", "<i4", ">i4", "<f4", ">f4", "<f8", ">f8"])


@given(hnp.arrays(DTYPES, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)))
def test_formatting_and_parsing_give_the_same_array(array: np.ndarray) -> None:
    back = parse_idx(format_idx(array), "it")
    assert back.dtype == array.dtype.newbyteorder("=")
    assert back.dtype.isnative
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(
    ("code", "payload", "dtype", "values"),
    [
        ("08", "00ff", "uint8", [0, 255]),
        ("09", "01ff", "int8", [1, -1]),
        ("0b", "0102fffe", "int16", [258, -2]),
        ("0c", "00000100ffffffff", "int32", [256, -1]),
        ("0d", "3f800000c0000000", "float32", [1.0, -2.0]),
        ("0e", "3ff0000000000000c000000000000000", "float64", [1.0, -2.0]),
    ],
)
def test_bytes_written_by_hand(code: str, payload: str, dtype: str, values: list[float]) -> None:
    content = bytes.fromhex(f"0000{code}01" + "00000002" + payload)
    array = parse_idx(content, "it")
    assert array.dtype == dtype
    assert array.tolist() == values
    assert format_idx(np.array(values, dtype=dtype)) == content


def test_the_dimensions_are_in_row_major_order() -> None:
    content = bytes.fromhex("00000802" + "00000002" + "00000003" + "000102030405")
    assert parse_idx(content, "it").tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("name", ["a.idx", "a.idx.gz"])
def test_a_file_comes_back_and_can_be_written_to(tmp_path: Path, name: str) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    write_idx(tmp_path / name, array)
    back = read_idx(tmp_path / name)
    np.testing.assert_array_equal(back, array)
    back[0] = 7
    raw = (tmp_path / name).read_bytes()
    assert (gzip.decompress(raw) if name.endswith(".gz") else raw) == format_idx(array)


def test_compression_is_deterministic_and_holds_no_name_and_no_time(tmp_path: Path) -> None:
    array = np.zeros((3, 5), dtype=np.uint8)
    write_idx(tmp_path / "a.gz", array)
    write_idx(tmp_path / "other.gz", array)
    first = (tmp_path / "a.gz").read_bytes()
    assert first == (tmp_path / "other.gz").read_bytes()
    assert first[3] == 0, "no flags: no name"
    assert first[4:8] == b"\0\0\0\0"


def test_gzip_is_recognised_by_content_not_by_name(tmp_path: Path) -> None:
    content = format_idx(np.array([5], dtype=np.uint8))
    (tmp_path / "packed").write_bytes(gzip.compress(content))
    (tmp_path / "plain.gz").write_bytes(content)
    assert read_idx(tmp_path / "packed").tolist() == read_idx(tmp_path / "plain.gz").tolist() == [5]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "got nothing"),
        (b"\x00\x00\x08", "not an IDX file"),
        (b"\x01\x00\x08\x01\0\0\0\0", "not an IDX file"),
        (b"\x00\x00\x0a\x01\0\0\0\0", "not an IDX file"),
        (b"\x00\x00\x08\x00\x05", "0 dimensions"),
        (b"\x00\x00\x08\x21" + b"\0" * 4 * 33, "33 dimensions"),
        (b"\x00\x00\x08\x02\0\0\0\x01\0\0", "not a whole IDX file"),
        (b"\x00\x00\x08\x01\0\0\0\x02\x07", "promises 2 bytes"),
        (b"\x00\x00\x08\x01\0\0\0\x01\x07\x07", "but 2 follow"),
        (b"\x00\x00\x0e\x03" + b"\xff" * 12, "truncated or altered"),
    ],
)
def test_damaged_content_is_rejected_by_name(content: bytes, said: str) -> None:
    with pytest.raises(DataUnavailableError, match=said) as caught:
        parse_idx(content, "the-file")
    assert "the-file" in str(caught.value)


@given(st.binary(max_size=40))
def test_any_bytes_parse_or_are_rejected(content: bytes) -> None:
    try:
        array = parse_idx(content, "it")
    except DataUnavailableError:
        return
    assert format_idx(array) == content


@pytest.mark.parametrize("cut", [3, 12, -9, -1])
def test_truncated_gzip_is_rejected_by_name(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.gz"
    write_idx(path, np.arange(200, dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataUnavailableError, match=r"cut\.gz is corrupt or truncated gzip"):
        read_idx(path)


def test_altered_gzip_is_rejected_by_name(tmp_path: Path) -> None:
    path = tmp_path / "bad.gz"
    write_idx(path, np.arange(200, dtype=np.uint8))
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 0xFF  # the checksum
    path.write_bytes(raw)
    with pytest.raises(DataUnavailableError, match=r"bad\.gz is corrupt"):
        read_idx(path)


def test_a_missing_file_is_rejected_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match="nowhere"):
        read_idx(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "array", [np.zeros(2, bool), np.zeros(2, np.int64), np.zeros((), np.uint8), np.zeros(2, "U3"), np.zeros(2, "f2")]
)
def test_arrays_that_the_format_cannot_hold_are_rejected(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(InputError, match="IDX holds"):
        write_idx(tmp_path / "it", array)
    assert not (tmp_path / "it").exists()

"""Groups texts by their shape, which is the text with each digit replaced by 9.

    506,981.8 -> 999,999.9      2024-01-05 -> 9999-99-99      0.25 -> 0.99

A column of numbers or dates has few shapes, however many values it has. So patterns are matched once for each shape,
and the digits of all texts of one shape stand in the same places. A leading zero stays a 0.
"""

import itertools
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MISSING_TEXTS = (
    *("#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN"),
    *("<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
"""Missing values, as in pandas.read_csv."""


def cleaned(texts: pa.Array, missing: Collection[str] = ()) -> pa.Array:
    """Returns texts without blanks around them, numbers without quotes, and typographic signs and digits as ASCII.

    Args:
        texts: The texts.
        missing: Texts that become null, as empty ones do.
    """
    texts = pc.utf8_trim_whitespace(texts.cast(pa.string()))
    absent = pa.array(["", *missing], pa.string())
    texts = pc.if_else(pc.is_in(texts, absent, skip_nulls=True), None, texts)
    for quote in "\"'":
        if (text_bytes(texts)[0] == ord(quote)).any():
            texts = pc.replace_substring_regex(texts, f"^{quote}\\s*([^{quote}]*[0-9][^{quote}]*){quote}$", r"\1")
    if text_bytes(texts)[0].max(initial=0) < 128:
        return texts
    # Minus signs; blanks that do not break, narrow, thin and figure blanks; typographic apostrophes.
    ascii_texts = {"[\u2212\u2012\uff0d]": "-", "[\u00a0\u202f\u2009\u2007]": " ", "[\u2019\u00b4]": "'"}
    for pattern, ascii_text in ascii_texts.items():
        texts = pc.replace_substring_regex(texts, pattern, ascii_text)
    # Digits of full width, and those that Arabs and Persians write.
    zeros = [
        zero for zero in "０٠۰" if pc.any(pc.match_substring_regex(texts, f"[{zero}-{chr(ord(zero) + 9)}]")).as_py()
    ]
    for zero, digit in itertools.product(zeros, range(10)):
        texts = pc.replace_substring(texts, chr(ord(zero) + digit), str(digit))
    for mark, ascii_mark in (("٫", "."), ("٬", ",")) if zeros else ():
        texts = pc.replace_substring(texts, mark, ascii_mark)
    texts = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.is_in(texts, absent, skip_nulls=True), None, texts)


@dataclass(frozen=True)
class ShapedTexts:
    """Texts with their shapes.

    Attributes:
        texts: Cleaned texts, without nulls: (n,).
        shapes: The distinct shapes: s texts.
        codes: The index of each text's shape: (n,).
    """

    texts: pa.Array
    shapes: list[str]
    codes: np.ndarray

    @classmethod
    def of(cls, texts: pa.Array, longest: int = 64) -> "ShapedTexts":
        """Returns cleaned texts (no nulls) with their shapes, "" for a text of more than `longest` bytes."""
        short = texts
        lengths = pc.binary_length(texts)
        if (pc.max(lengths).as_py() or 0) > longest:
            short = pc.if_else(pc.greater(lengths, longest), "", texts)
        data, starts = text_bytes(short)
        table = np.arange(256, dtype=np.uint8)
        table[ord("0") : ord("9") + 1] = ord("9")
        shapes = table[data]
        # A zero leads where neither a digit nor a separator is in front of it.
        follows = np.zeros(256, bool)
        follows[list(b"0123456789.,'/:T")] = True
        before = np.zeros(len(data), bool)
        before[1:] = follows[data[:-1]]
        before[2:] |= (data[1:-1] == ord(" ")) & (table[data[:-2]] == ord("9"))  # 1 000
        before[starts[:-1][starts[:-1] < len(data)]] = False
        shapes[(data == ord("0")) & ~before] = ord("0")
        buffers = [None, pa.py_buffer(starts.astype(np.int32)), pa.py_buffer(shapes)]
        encoded = pa.Array.from_buffers(pa.string(), len(short), buffers).dictionary_encode()
        return cls(texts, encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False))

    def digits(self, shape: int, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the positions of the texts of a shape, and their characters as digits: (m,) and (m, length).

        Args:
            shape: The index of the shape.
            length: The number of bytes of the shape; characters that are no digits give meaningless numbers.
        """
        positions = np.flatnonzero(self.codes == shape)
        data, starts = text_bytes(self.texts)
        characters = data[starts[positions][:, None] + np.arange(length)]
        return positions, characters.astype(np.int64) - ord("0")


def text_bytes(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Returns the UTF-8 bytes of all texts, and where each text starts in them: shape (n + 1,)."""
    if not len(texts):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    _, offsets, data = texts.buffers()
    starts = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
    whole = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return whole[starts[0] : starts[-1]], starts - starts[0]

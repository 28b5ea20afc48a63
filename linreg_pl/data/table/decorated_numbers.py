"""Recognizes shapes that contain numbers but that no notation reads: ranges, and numbers with further signs."""

import re


def is_range(shape: str) -> bool:
    """Says whether a shape is a range of numbers, perhaps open, such as 15-24, 75+ or (0, 1]; (1,234) is a number."""
    number = "[09][09., ]*"
    end = r"\s*[+-]?([09][09.]*|inf)\s*"
    if re.fullmatch(rf"[\[(]{end}, {end}[\])]|\[{end}[,;]{end}[\])]|[\[(]{end}[,;]{end}\]", shape):
        return True
    return re.fullmatch(rf"[^09\w]*{number}[^\W\d_]*\s*((-|–|—|to)\s*{number}.*|\+)", shape) is not None


def is_decorated(shape: str) -> bool:
    """Says whether a shape is a number with signs around it or between its digits that no notation reads."""
    number = "[09][09., ']*"
    forms = (
        rf"(?!{number}$)[^\w\s#]{{0,3}}\s*{number}\s*[^\w\s+]{{0,3}}",  # 12.50-  5/-  > 0.5  ="5"
        rf"[+-]?{number}(±|\+/-)\s*{number}",
        rf"[+-]?{number}\({number}\)",
        r"[+-]?[09]{1,3}(_[09]99)+([.,]9*)?",
        rf"[+-]?{number}[x×·*]\s*99(\^|\*\*)\s*[+-]?[09]+",  # 0.5x10^3
        r"[+-]?[09]+ 99?/99?",  # 3 1/2
    )
    return not is_range(shape) and any(re.fullmatch(form, shape) for form in forms)

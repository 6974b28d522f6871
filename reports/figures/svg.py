"""Shrinks matplotlib's SVG by its redundant parts, which made up half of a page; the picture stays the same.

A tool such as scour was rejected. It would be a dependency, and it parses and rewrites the whole tree, which takes
seconds for each figure. Looking at the tags alone is enough. Text between tags stays as it is; only blanks between
elements are removed.
"""

import re
from collections import Counter

__all__ = ["compact"]

_TAG = re.compile(r"<!--.*?-->|</?[A-Za-z][^<>]*>", re.DOTALL)
_REFERENCE = re.compile(r"""(?:href="|url\()#([^")]+)""")
_DECIMALS = re.compile(r"-?\d+\.\d{3,}(?!\d*e)")
_FAMILY = re.compile(r"font-family: ([^;\"]+)")
_STYLED = re.compile(r'<\w+ id="([^"]+)"[^>]* style="([^"]*)"')
_USED = re.compile(r'<use xlink:href="#([^"]+)"[^>]* style="([^"]*)"')


def compact(svg: str) -> str:
    """Return matplotlib's ``svg`` without unused ids, groups without attributes and repeated styles.

    Numbers keep two decimals: hundredths of a point.
    """
    targets = set(_REFERENCE.findall(svg))
    families = Counter(_FAMILY.findall(svg))
    family = families.most_common(1)[0][0] if families else None
    styles = dict(_STYLED.findall(svg))
    open_groups: list[bool] = []  # for each open group, whether its tag stays

    def shorter(tag: re.Match[str]) -> str:
        text = tag[0]
        if text.startswith("<!--"):
            return ""
        if text == "</g>":
            return text if open_groups.pop() else ""
        if text.startswith("</"):
            return text
        if family is not None:
            text = text.replace(f"font-family: {family}", "")
        use = _USED.match(text)
        if use and styles.get(use[1]) == use[2]:  # the referenced element has this style already
            text = text.replace(f' style="{use[2]}"', "")
        text = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in targets else "", text)
        text = re.sub(r' transform="rotate\(-?0 [^"]*"', "", text)
        text = re.sub(r' style="([^"]*)"', _style, text)
        if not text.startswith("<image"):
            text = _DECIMALS.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), text)
            text = re.sub(r"\s+", " ", text)
        else:
            text = text.replace("\n", "")
        if text.startswith("<svg") and family is not None:
            text = text.replace("<svg", f'<svg font-family="{family}"', 1)
        if text.startswith("<g"):
            if not text.endswith("/>"):
                open_groups.append(text != "<g>")
            return "" if text == "<g>" else text
        return text

    return re.sub(r">\s+<", "><", _TAG.sub(shorter, svg)) + "\n"


def _style(match: re.Match[str]) -> str:
    """Return the style attribute without empty rules and blanks, or nothing if no rule is left."""
    rules = [re.sub(r": +", ":", rule.strip()) for rule in match[1].split(";")]
    style = ";".join(rule for rule in rules if rule)
    return f' style="{style}"' if style else ""

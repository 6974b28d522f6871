"""What matplotlib's SVG says several times or to nobody is taken out: half of a page was that, and it looks the same.

A tool such as scour was rejected: it parses and rewrites the whole tree, for seconds a figure, and would be a
dependency for what tags alone show. Text between tags stays as it is, but for blanks between elements.
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
    """Return matplotlib's ``svg`` without ids that nothing refers to, groups that group nothing and repeated styles.

    Numbers keep two decimals, hundredths of a point.
    """
    referred = set(_REFERENCE.findall(svg))
    families = Counter(_FAMILY.findall(svg))
    family = families.most_common(1)[0][0] if families else None
    styles = dict(_STYLED.findall(svg))
    open_groups: list[bool] = []  # whether each was kept

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
        used = _USED.match(text)
        if used and styles.get(used[1]) == used[2]:  # which the element says itself
            text = text.replace(f' style="{used[2]}"', "")
        text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in referred else "", text)
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


def _style(found: re.Match[str]) -> str:
    rules = [re.sub(r": +", ":", rule.strip()) for rule in found[1].split(";")]
    kept = ";".join(rule for rule in rules if rule)
    return f' style="{kept}"' if kept else ""

import xml.etree.ElementTree as ET

from reports.figures.svg import compact

SVG = """<svg width="10pt" height="10pt" xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">
 <defs>
  <path id="mark" d="M 0 0
L 0 3.5
" style="stroke: #000000; stroke-width: 0.8"/>
 </defs>
 <g id="axes_1">
  <g>
   <!-- a < b -->
   <use xlink:href="#mark" x="1.23456" y="2" style="stroke: #000000; stroke-width: 0.8"/>
   <use xlink:href="#mark" x="3" y="4" style="stroke: #ff0000"/>
  </g>
  <g id="text_1" clip-path="url(#clip)">
   <text style="font-size: 7px; font-family: 'A', sans-serif" transform="rotate(-0 5 6)">id="x"  1.23456</text>
   <text style="font-size: 7px; font-family: 'A', sans-serif" x="5" y="6" transform="rotate(-45 5 6)">1 &lt; 2</text>
   <text style="font-family: 'B'" x="1e-05" y="0">z</text>
  </g>
 </g>
 <clipPath id="clip"><rect x="-0.001" y="0" width="1" height="1"/></clipPath>
 <image id="i" xlink:href="data:image/png;base64,
1.23456AB" width="1.5"/>
</svg>
"""


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - a text of this test


def test_everything_visible_stays() -> None:
    root = parsed(compact(SVG))
    tags = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert tags == ["svg", "defs", "path", "use", "use", "g", "text", "text", "text", "clipPath", "rect", "image"]
    texts = [element for element in root.iter() if element.tag.endswith("text")]
    assert [text.text for text in texts] == ['id="x"  1.23456', "1 < 2", "z"]
    assert root.get("font-family") == "'A', sans-serif"
    assert [text.get("style") for text in texts] == ["font-size:7px", "font-size:7px", "font-family:'B'"]
    assert [text.get("transform") for text in texts] == [None, "rotate(-45 5 6)", None]
    assert texts[2].get("x") == "1e-05"


def test_only_ids_with_references_stay() -> None:
    text = compact(SVG)
    assert [element.get("id") for element in parsed(text).iter() if element.get("id")] == ["mark", "clip"]
    assert "url(#clip)" in text


def test_a_mark_loses_the_style_of_its_definition_and_keeps_a_different_one() -> None:
    uses = [element for element in parsed(compact(SVG)).iter() if element.tag.endswith("use")]
    assert [use.get("style") for use in uses] == [None, "stroke:#ff0000"]
    assert uses[0].get("x") == "1.23"


def test_pixels_stay_unchanged() -> None:
    assert "base64,1.23456AB" in compact(SVG)

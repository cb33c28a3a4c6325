import base64
import io
import re

from PIL import Image

from components.contracts import page


def test_text_is_escaped_everywhere():
    evil = '<script>"&'
    whole = page.page(
        evil,
        page.table([evil], [[evil]])
        + page.tiles([(evil, evil)])
        + page.sheet([page.figure("data:,", evil, kind=evil)]),
    )
    assert "<script>" not in whole
    assert whole.count("&lt;script&gt;&quot;&amp;") == 9


def test_a_page_stands_alone():
    whole = page.page("Report", "<p>body</p>")
    assert whole.startswith("<!doctype html>")
    assert "<h1>Report</h1><p>body</p>" in whole
    assert not re.search(r"(src|href)=|@import|url\(", whole)


def test_numbers_are_set_apart_from_text():
    cells = page.table(["a"], [[1234567, 0.123456, "7", True]])
    assert '<td class="number">1,234,567</td>' in cells
    assert '<td class="number">0.1235</td>' in cells
    assert "<td>7</td>" in cells
    assert "<td>True</td>" in cells


def test_a_thumbnail_is_a_small_jpeg_in_the_page():
    buffer = io.BytesIO()
    Image.new("RGB", (400, 200), (255, 0, 0)).save(buffer, "PNG")
    source = page.thumbnail(buffer.getvalue(), side=50)
    kind, content = source.split(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as small:
        assert small.size == (50, 25)
        red, green, _ = small.getpixel((10, 10))
        assert red > 240
        assert green < 15

from components.catalog.config import CatalogConfig
from components.catalog.proposals import Candidate
from components.catalog.proposals_page import render
from components.contracts.taxonomy import Taxonomy


def test_each_candidate_has_its_pictures_and_nothing_is_trusted(shop):
    shop.write()
    found = [
        Candidate("x", "seating", "<i>Poufs</i>", 3, 5, 0.8, ("i0", "i1", "gone", "outside")),
        Candidate("y", "root", "Rugs", 3, 5, 0.8, ()),
    ]
    page = render(
        found,
        taxonomy=Taxonomy.read(shop.folder / "taxonomy.csv"),
        images={"i0": "images/i0.png", "i1": "images/i1.png", "outside": "../report.html"},
        folder=shop.folder,
        limits=CatalogConfig().image_limits,
    )
    assert page.count("data:image/jpeg;base64,") == 2
    assert "Seating &gt; &lt;i&gt;Poufs" in page
    assert "<i>" not in page
    assert "Already there: Chairs, Sofas, Stools" in page
    assert "All &gt; Rugs" in page


def test_no_candidate_is_said(shop):
    shop.write()
    tree = Taxonomy.read(shop.folder / "taxonomy.csv")
    page = render(
        [], taxonomy=tree, images={}, folder=shop.folder, limits=CatalogConfig().image_limits
    )
    assert "No proposal passes" in page

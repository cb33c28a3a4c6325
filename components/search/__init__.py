"""Search: exact or ScaNN behind one interface, and answers with one image a product."""

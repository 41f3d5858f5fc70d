"""Odd images: what becomes of each with Cinder's own driver, and with the cache.

odd_images.py       the images
comparison.py       both drivers on one fake vCenter, and what the volume holds afterwards
document.py         docs/images.rst: ``python -m tests.images.document``
test_comparison.py  the rule that holds for every row, and that the page is up to date
"""

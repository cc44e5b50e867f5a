"""The demo catalog, drawn rather than read: `DemoFeed` is a feed in the published layout, made from a seed."""

from fashion_ray.catalog.demo.feed import DemoFeed

__all__ = ["DemoFeed"]

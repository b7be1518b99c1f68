"""Virtual devices that answer real protocol bytes, driven by the same profiles as the drivers."""

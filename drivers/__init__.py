"""Protocol code and device profiles. Reads only; never imports `collector`; usable alone."""

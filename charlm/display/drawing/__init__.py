"""Pictures as SVG and HTML by a few lines of our own: lines, cells, maps, intervals, pages."""

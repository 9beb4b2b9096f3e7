"""The file extensions of the image formats that are read, in lower case."""

EXTENSIONS = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")  # by every part of the pipeline
MICROSCOPES = (".nd2", ".czi", ".lif")  # by segment.py, with the packages of requirements-microscopes.txt

"""The file extensions of the image formats that are read."""

EXTENSIONS = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")  # in lower case

"""The image formats that are read, by the ends of their file names."""

EXTENSIONS = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")  # in lower case

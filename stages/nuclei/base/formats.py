"""How the names of the files that are read end, in lower case."""

EXTENSIONS = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")  # by every part of the pipeline
MICROSCOPES = (".nd2", ".czi", ".lif")  # by segment.py, with the packages of requirements-microscopes.txt
ROI_SET = "_rois.zip"  # the regions of ImageJ of an image
OUTLINES = (ROI_SET, ".roi", ".geojson")  # all files of outlines, after the name of their image
REVIEW = "review"  # the folder in which segment.py --review puts images

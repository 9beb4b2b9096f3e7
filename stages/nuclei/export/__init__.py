"""A trained model for other programs: as an ONNX graph, as a bioimage.io package, and with a card that describes it.

May import: base, images, network.
"""

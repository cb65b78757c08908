"""ONNX graphs: written node by node, in fewer bits, and their weights read back."""

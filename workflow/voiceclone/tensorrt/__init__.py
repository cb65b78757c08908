"""TensorRT: graphs of standard operators, engines built from them, and what runs these."""

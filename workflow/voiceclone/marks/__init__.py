"""What generated speech carries: the watermark in its sound, tags and signature beside it, a notice that is heard."""

"""Speaking: sampling, text splitting, the synthesiser over exported bundles. Imports without torch."""

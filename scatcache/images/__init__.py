"""Where pixels come from: sources of rows, and bytes turned into uint8 RGB."""

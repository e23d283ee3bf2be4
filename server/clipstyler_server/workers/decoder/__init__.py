"""The decoder process: all parsing of images from outside."""

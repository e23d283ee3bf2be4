"""Videos: shots, motion, a style drawn frame by frame, how steady the result is, and the files.

PyAV and OpenCV, the extra `video`, are imported where they are used. Files are parsed in the calling process: use it
for videos that one trusts, as with any player. The server takes no videos.
"""

"""Videos: shots, a style drawn frame by frame, motion, and how steady a result is; reading and writing the files.

PyAV and OpenCV, the extra `video`, are imported where they are used. Files are parsed in the calling process: use it
for videos that one trusts, as with any player. The server takes no videos.
"""

"""The engine: processes that compute, and the messages between them and the front.

Nothing here imports PyTorch except `torch_workload`, and only the optimizer's process imports that.
"""

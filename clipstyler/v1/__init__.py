"""The contract as Python code: generated stubs, its descriptor set, and the words for its enums."""

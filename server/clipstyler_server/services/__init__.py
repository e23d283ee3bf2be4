"""The contract's services, one file each: they translate, and compute nothing."""

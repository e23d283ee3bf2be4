"""Translation between messages of the contract and the domain, one file per kind of message."""

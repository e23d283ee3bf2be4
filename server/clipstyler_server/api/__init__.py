"""The contract: servicers translate between messages and the domain, and decide nothing."""

"""A fleet of fronts and devices on paper: demand, a discrete-event simulation of it, and where it saturates."""

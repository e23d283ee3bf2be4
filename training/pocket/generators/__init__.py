"""What draws the training pictures: small seeded functions, one for every look, of any size."""

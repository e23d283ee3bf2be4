"""Plain examples of looks and of objects, which `clipstyler check` compares texts with.

None of them is in the held-out lists of the tests.
"""

LOOKS = (
    *("an oil painting", "a watercolor", "a charcoal drawing", "an engraving", "a mosaic", "a woodcut", "pixel art"),
    *("impressionism", "cubism", "in the style of Van Gogh", "pop art", "a pencil sketch", "neon light", "embroidery"),
    *("rusty metal", "cracked ice", "burning flames", "polished marble", "knitted wool", "brick wall", "wood grain"),
    *("stained glass", "autumn leaves", "crumpled paper"),
)
OBJECTS = (
    *("a dog", "a car", "a house", "a person", "a bicycle", "a chair", "a ship", "an airplane", "a horse", "a table"),
    *("a telephone", "a hat", "a guitar", "a bottle", "a clock", "a tree", "a bird", "a train", "a robot", "a castle"),
    *("a pizza", "an elephant", "a book", "a shoe"),
)

"""How the bundled `pocket` encoders and their independent judge are made. Not part of the wheel."""

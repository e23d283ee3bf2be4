"""An independent judge of stylized pictures: it names one of twenty texts.

It shares nothing with the `pocket` encoders: its own drawings, its own network, no adversarial training. Neither the
encoders nor the stylization ever see it; that is what makes its verdict worth having.
"""

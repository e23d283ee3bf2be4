"""Published figures, to be shown beside ours and never compared across encoders (Kwon & Ye, CVPR 2022)."""

from __future__ import annotations

PREFERENCE = {
    "full": 3.92,
    "without patch loss": 1.69,
    "without directional loss": 2.58,
    "without augmentation": 2.61,
    "without threshold": 3.02,
}
"""User preference of the ablation, of 5: people, not a metric."""

PATCH_CLIP = {
    "CLIPstyler": 0.2515,
    "AdaIN+CLIP": 0.2487,
    "retrieve+SANet": 0.2317,
    "StyleGAN-NADA": 0.2252,
    "VQGAN+CLIP": 0.2249,
    "StyleCLIP": 0.1982,
}
"""Patch-CLIP score, with CLIP ViT-B/32 of OpenAI, at 512 x 512 px."""

ENCODERS = "CLIP ViT-B/32 (OpenAI), VGG19 (ImageNet)"
SECONDS = "about 40 s per text on an RTX 2080 Ti"

"""Pretrained: what folders of models and tokenizers say about themselves, without torch.

Others import `model_folder` and `tokenizer`; the weights are read in `models`.
"""
